"""The report: one page with all that stored results say, to be looked at."""
