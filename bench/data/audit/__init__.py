"""What is wrong with a data set before anything is trained: duplicates, label conflicts, shortcuts."""
