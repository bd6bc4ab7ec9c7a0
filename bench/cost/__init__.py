"""What a network costs: operations and parameters, the published figures, and speed on this machine."""
