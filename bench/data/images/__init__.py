"""From files to pixels in memory maps, decoded once."""
