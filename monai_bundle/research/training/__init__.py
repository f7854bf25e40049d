"""Cross-validation, and the training of the weights that ship."""
