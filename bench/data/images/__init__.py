"""Images of a data set: its index checked, its files decoded once and kept as memory maps."""
