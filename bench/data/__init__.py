"""Images and splits: from files to pixels in memory maps, and to frozen manifests."""
