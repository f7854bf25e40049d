"""Stands in for ``monai.bundle``."""
