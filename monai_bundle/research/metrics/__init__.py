"""Figures: classification, key slices, quality of the maps."""
