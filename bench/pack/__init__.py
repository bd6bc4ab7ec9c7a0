"""Results as an archive that others can check, and results of several machines as one."""
