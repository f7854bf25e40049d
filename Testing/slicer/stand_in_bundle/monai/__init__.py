"""Stands in for MONAI: found first, because the bundle runs in its own folder."""
