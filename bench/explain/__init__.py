"""What a network looks at, and what its pretraining was shown: maps beside images."""
