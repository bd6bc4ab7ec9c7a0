"""Audits: duplicates, label conflicts and shortcuts of a data set, looked for before anything is trained."""
