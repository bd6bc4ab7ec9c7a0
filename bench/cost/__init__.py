"""The cost of a network: parameters, operations, the published figures, and speed on this machine."""
