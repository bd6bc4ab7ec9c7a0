"""Training and prediction. The only core package that imports torch."""
