"""One DICOM study from its slice headers to a CTStudy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scripts.intake.brain_coverage import BrainCoverage, estimate_coverage
from scripts.intake.dicom_decoding import check_copies
from scripts.intake.dicom_pixels import read_voxels
from scripts.intake.dicom_series import RankedStacks, is_axial, rank_stacks
from scripts.intake.image_kind import is_monoenergetic, is_reformat
from scripts.intake.quality import QualityLimits, check_quality
from scripts.intake.slice_geometry import gap_warnings, stack_affine
from scripts.intake.slice_header import SliceHeader
from scripts.intake.stack import Stack, sideways_mm
from scripts.intake.study import CTStudy, NotEvaluableError, Provenance, QualityWarning
from scripts.messages import Message

_LEFT_OUT_MM, _LEFT_OUT_STEPS = 2.0, 0.75
_ADJOINING_STEPS = 3.0
_SHIFT_PIXELS = 0.5


def read_dicom_study(headers: Sequence[SliceHeader], source_name: str, limits: QualityLimits | None = None) -> CTStudy:
    """Choose one series of a study and read it.

    Where there are several, they are tried in their order (:func:`rank_stacks`) until the quality gate passes one.
    Slices ascend along the slice normal, so the affine is right-handed. Of the header's text only the kernel is kept.

    Parameters
    ----------
    headers : sequence of SliceHeader
        All images of one study, in any order.
    source_name : str
        Name of the folder or file, for the provenance.
    limits : QualityLimits, optional
        Of the gate that tries the series; the bundle's own where none are given.

    Returns
    -------
    CTStudy
        The first series that passes; where none does, the first that can be read at all.

    Raises
    ------
    NotEvaluableError
        For everything that :func:`rank_stacks` and :func:`read_stack` refuse.
    """
    ranked = rank_stacks(headers, estimate_coverage)
    refused: dict[int, Message] = {}
    first_fault: NotEvaluableError | None = None
    readable: tuple[Stack, CTStudy] | None = None
    for place, stack in enumerate(ranked.usable):
        try:
            study = read_stack(stack, source_name)
            readable = readable or (stack, study)
            if len(ranked.usable) > 1:
                check_quality(study, limits)
        except NotEvaluableError as fault:
            refused[place] = fault.message
            first_fault = first_fault or fault
            continue
        return _with_choice(study, stack, ranked, refused)
    if readable is None:
        raise first_fault or NotEvaluableError("no_original_series")
    return _with_choice(readable[1], readable[0], ranked, refused)


def _with_choice(study: CTStudy, stack: Stack, ranked: RankedStacks, refused: dict[int, Message]) -> CTStudy:
    sentences = ranked.sentences(stack, refused)
    warnings = [warning for warning in (_brain_left_out(stack, ranked),) if warning]
    return study.with_choice(sentences).with_warnings(*warnings)


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
        The stack's fault, or whatever :func:`read_voxels` and :func:`check_copies` refuse.
    """
    if stack.fault:
        raise stack.fault
    voxels, warnings = read_voxels(stack.headers)
    check_copies(stack.copies)
    first = stack.first
    positions = np.array([header.position for header in stack.headers], dtype=np.float64)
    return CTStudy(
        voxels=voxels,
        affine=stack_affine(stack.orientation, first.pixel_spacing or (), positions),
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
        warnings=(*warnings, *header_warnings(stack, positions), *gap_warnings(stack.positions_mm)),
        sop_instance_uids=tuple(header.sop_instance_uid for header in stack.headers),
    )


def header_warnings(stack: Stack, positions: NDArray[np.float64]) -> list[QualityWarning]:
    """Name what the headers of a stack state that a reader should know."""
    warnings = []
    if stack.contrast:
        warnings.append(QualityWarning("contrast"))
    if is_reformat(stack.first):
        warnings.append(QualityWarning("derived_images"))
    if is_monoenergetic(stack.first):
        warnings.append(QualityWarning("monoenergetic"))
    if lossy := sum(header.lossy for header in stack.headers):
        warnings.append(QualityWarning("lossy_compression", slices=lossy))
    if len({(header.kernel, header.kvp) for header in stack.headers}) > 1:
        warnings.append(QualityWarning("mixed_reconstruction"))
    shifts = sideways_mm(positions, stack.positions_mm)
    if shifts.size and shifts.max() > _SHIFT_PIXELS * max(stack.first.pixel_spacing or (1.0,)):
        warnings.append(QualityWarning("shifted_slices", shift_mm=float(shifts.max())))
    return warnings


def _brain_left_out(chosen: Stack, ranked: RankedStacks) -> QualityWarning | None:
    """Warn of brain beyond the chosen stack that only another stack shows: it was not read."""
    first, last = chosen.positions_mm[0], chosen.positions_mm[-1]
    corner = np.array(chosen.first.position)
    row_mm, column_mm = chosen.first.pixel_spacing or (1.0, 1.0)
    rows, columns = np.array(chosen.orientation[3:]), np.array(chosen.orientation[:3])
    middle = corner + rows * row_mm * chosen.first.rows / 2 + columns * column_mm * chosen.first.columns / 2
    to_middle = float((middle - corner) @ chosen.normal)
    beyond, slices = 0.0, 0
    for stack, coverage in zip(ranked.usable, ranked.coverage, strict=True):
        if stack is chosen or not is_axial(stack):
            continue
        along = _positions_beyond(stack, coverage, chosen, to_middle)
        excess = np.maximum(first - along, along - last)
        excess = excess[excess > max(_LEFT_OUT_MM, _LEFT_OUT_STEPS * chosen.step_mm)]
        if excess.size and excess.max() > beyond:
            beyond, slices = float(excess.max()), excess.size
    return QualityWarning("head_left_out", mm=beyond, slices=slices) if slices else None


def _positions_beyond(stack: Stack, coverage: BrainCoverage, chosen: Stack, to_middle: float) -> NDArray[np.float64]:
    """Where another stack shows what belongs to the chosen one, along its normal (mm, comparable to its positions).

    All slices of a stack that belongs to the chosen one's series or continues it; else those in which brain was found.
    """
    row_mm, column_mm = stack.first.pixel_spacing or (1.0, 1.0)
    rows, columns = np.array(stack.orientation[3:]), np.array(stack.orientation[:3])
    middle = rows * row_mm * stack.first.rows / 2 + columns * column_mm * stack.first.columns / 2
    corners = np.array([header.position for header in stack.headers], dtype=np.float64)
    along = np.asarray((corners + middle) @ chosen.normal - to_middle)
    if stack.first.series_uid == chosen.first.series_uid or _continues(along, stack, chosen):
        return along
    return np.asarray(coverage.centres_mm @ chosen.normal - to_middle)


def _continues(along: NDArray[np.float64], stack: Stack, chosen: Stack) -> bool:
    """Whether a few slices carry on a stack: alike, and beside its first or last slice."""
    same = ("rows", "columns", "pixel_spacing", "thickness_mm", "kernel", "contrast")
    if any(getattr(stack.first, name) != getattr(chosen.first, name) for name in same):
        return False
    ends = np.array([chosen.positions_mm[0], chosen.positions_mm[-1]])
    gap = np.abs(along[:, None] - ends[None]).min()
    return bool(len(stack.headers) < len(chosen.headers) and gap <= _ADJOINING_STEPS * max(chosen.step_mm, 1.0))
