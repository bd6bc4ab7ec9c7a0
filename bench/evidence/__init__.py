"""Which differences are real: intervals and tests of this design, computed from stored predictions."""
