"""Tables of a paper, and which of their numbers follow from results."""
