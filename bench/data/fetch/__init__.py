"""Fetching a data set, and checking that it is complete."""
