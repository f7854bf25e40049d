"""What the intake made of a mutated study, compared with the heads that it was made from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np

from research.fuzz.files import Head
from scripts.intake.discovery import find_studies, read_study
from scripts.intake.quality import check_quality
from scripts.intake.skull import locate_skull
from scripts.intake.study import CTStudy, IntakeError

_SAME_PLACE_MM = 1.0
_UNNOTICED_MM = 15.0
"""Brain missing at an end of the stack, with no file left that shows it: less than this is no difference."""
_OF_THE_KIND = frozenset({"contrast", "bone_kernel", "monoenergetic", "derived_images"})
"""Warnings of what kind of image was read, which no wrong voxel or place explains."""


class Outcome(StrEnum):
    """How a study ended."""

    TRUE = "read, equal to a head"
    WARNED = "read, other than a head, with a warning"
    SILENT = "read, other than a head, without a warning"
    REFUSED = "refused by name"
    UNFORESEEN = "refused for an error that nobody foresaw"
    TRACEBACK = "ended by an error"


def outcomes(folder: Path, heads: Sequence[Head]) -> list[Outcome]:
    """Read every study of a folder through the quality gate.

    Returns
    -------
    list of Outcome
        One per study, one for the folder where the search refuses it.
    """
    try:
        sources = find_studies(folder)
    except IntakeError:
        return [Outcome.REFUSED]
    except Exception:
        logging.getLogger(__name__).exception("%s: the search ended", folder.name)
        return [Outcome.TRACEBACK]
    found = []
    for source in sources:
        try:
            study = check_quality(read_study(source))
        except IntakeError as fault:
            unforeseen = fault.code == "unforeseen_error"
            found.append(Outcome.UNFORESEEN if unforeseen else Outcome.REFUSED)
        except Exception:
            logging.getLogger(__name__).exception("%s: the reading ended", folder.name)
            found.append(Outcome.TRACEBACK)
        else:
            if any(_is_true(study, head) for head in heads):
                found.append(Outcome.TRUE)
            else:
                is_warned = any(warning.code not in _OF_THE_KIND for warning in study.warnings)
                found.append(Outcome.WARNED if is_warned else Outcome.SILENT)
    return found


def _is_true(study: CTStudy, head: Head) -> bool:
    """Whether a study's slices are consecutive ones of a head, at their places, with all but the ends of its brain."""
    count = len(study.voxels)
    for first in range(len(head.voxels) - count + 1):
        part = head.voxels[first : first + count]
        if np.array_equal(study.voxels, part):
            return _same_place(study, head, first) and _has_the_brain(head, first, first + count)
    return False


def _same_place(study: CTStudy, head: Head, first: int) -> bool:
    slices, rows, columns = study.voxels.shape
    corners = np.array([(c, r, s) for c in (0, columns) for r in (0, rows) for s in (0, slices - 1)], dtype=np.float64)
    found = corners @ study.affine[:3, :3].T + study.affine[:3, 3]
    expected = (corners + np.array([0, 0, first])) @ head.affine[:3, :3].T + head.affine[:3, 3]
    moved = found - expected
    # Where a study lies in the scanner does not change what is read: its shape does.
    return bool(np.linalg.norm(moved - moved.mean(axis=0), axis=1).max() < _SAME_PLACE_MM)


def _has_the_brain(head: Head, first: int, last: int) -> bool:
    spacing = np.linalg.norm(head.affine[:3, :3], axis=0)
    brain = np.flatnonzero(locate_skull(head.voxels, (spacing[0], spacing[1], spacing[2])).brain)
    missing = max(first - brain[0], brain[-1] + 1 - last)
    return bool(missing * spacing[2] <= _UNNOTICED_MM)
