"""Statistics of differences between methods, on arrays alone."""
