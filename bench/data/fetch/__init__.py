"""Bringing a data set here, and checking that all of it is."""
