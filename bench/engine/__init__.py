"""Training and prediction. The only core package that imports torch at the top of its modules."""
