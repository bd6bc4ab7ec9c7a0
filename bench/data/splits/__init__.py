"""Splits: which images train, validate and test. Drawn once, then frozen as manifests."""
