"""A digital head CT from analytic shapes, with haemorrhages of all five kinds and their true masks."""

from scripts.phantom.grid import Grid
from scripts.phantom.haemorrhage import Haemorrhage
from scripts.phantom.rendering import Phantom, make_phantom
from scripts.phantom.writing import write_dicom_series, write_masks, write_nifti

__all__ = ["Grid", "Haemorrhage", "Phantom", "make_phantom", "write_dicom_series", "write_masks", "write_nifti"]
