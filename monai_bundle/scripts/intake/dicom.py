"""One DICOM study from its slice headers to a CTStudy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scripts.intake.dicom_header import SliceHeader
from scripts.intake.dicom_pixels import read_voxels
from scripts.intake.dicom_series import Stack, choose_stack
from scripts.intake.slice_geometry import gap_warnings, stack_affine
from scripts.intake.study import CTStudy, Provenance, QualityWarning
from scripts.messages import Message


def read_dicom_study(headers: Sequence[SliceHeader], source_name: str) -> CTStudy:
    """Choose one series of a study and read it.

    Slices ascend along the slice normal, so the affine is right-handed. Of the header's text only the kernel is kept.

    Parameters
    ----------
    headers : sequence of SliceHeader
        All images of one study, in any order.
    source_name : str
        Name of the folder or file, for the provenance.

    Raises
    ------
    NotEvaluableError
        For everything that :func:`choose_stack` and :func:`read_voxels` refuse; the message starts with the source.
    """
    stack, series_choice = choose_stack(headers)
    return read_stack(stack, source_name, series_choice)


def read_stack(stack: Stack, source_name: str, series_choice: tuple[Message, ...] = ()) -> CTStudy:
    """Read one stack: slice ``k`` of the study is ``stack.headers[k]``.

    Parameters
    ----------
    stack : Stack
        Without a fault.
    source_name : str
        Name for the provenance.
    series_choice : tuple of Message
        Why this stack was chosen.

    Raises
    ------
    NotEvaluableError
        The stack's fault, or whatever :func:`read_voxels` refuses.
    """
    if stack.fault:
        raise stack.fault
    voxels, warnings = read_voxels(stack.headers)
    first = stack.first
    positions = np.array([header.position for header in stack.headers], dtype=np.float64)
    if stack.contrast:
        warnings += (QualityWarning("contrast"),)
    return CTStudy(
        voxels=voxels,
        affine=stack_affine(first.orientation or (), first.pixel_spacing or (), positions),
        positions_mm=stack.positions_mm,
        provenance=Provenance(
            source_name=source_name,
            source_format="dicom",
            study_uid=first.study_uid or None,
            series_uid=first.series_uid,
            kernel=first.kernel,
            slice_thickness_mm=first.thickness_mm,
            series_choice=series_choice,
        ),
        warnings=(*warnings, *gap_warnings(stack.positions_mm)),
        sop_instance_uids=tuple(header.sop_instance_uid for header in stack.headers),
    )
