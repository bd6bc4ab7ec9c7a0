"""Which images train, validate and test: drawn once, then frozen as manifests."""
