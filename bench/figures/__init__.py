"""Drawings of what stored results say: one code for pages, papers and slides."""
