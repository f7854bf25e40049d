"""The image of a study in a list of many: its key slice as the report draws it, small."""

from __future__ import annotations

from scripts.diagnosis import Diagnosis
from scripts.output.lesion_images import contours, group_masks, largest_slices
from scripts.output.overlay import jpeg, overlay
from scripts.output.report_images import input_slice_of, key_slices_of, map_of, shown_finding
from scripts.output.slice_images import display_of, grey_slab

THUMBNAIL_FILE = "thumbnail.jpg"
_PIXELS = 192


def thumbnail(diagnosis: Diagnosis) -> bytes:
    """Draw the slice that a reader should see first.

    Parameters
    ----------
    diagnosis : Diagnosis
        What was found.

    Returns
    -------
    bytes
        JPEG, 192 pixels on its longer side, brain window, the patient's right on the left: the slice with the largest
        stated lesion with its contours; else the first key slice with the map that the report shows large, or plain
        where it shows none; the middle slice where the network chose no key slice.
    """
    display, lesions = display_of(diagnosis.study, diagnosis.head), diagnosis.stated_lesions
    labels = diagnosis.model.labels
    with_lesion = largest_slices(lesions, labels, diagnosis.input_slices)[:1] if lesions else []
    keys = [entry.index for entry in key_slices_of(diagnosis)]
    index = next(iter([*with_lesion, *keys]), len(diagnosis.slices) // 2)
    grey = grey_slab(diagnosis.study, input_slice_of(diagnosis, index), display, _PIXELS)
    if lesions and with_lesion:
        return jpeg(contours(grey, group_masks(lesions, labels, index), display))
    shown = map_of(diagnosis, shown_finding(diagnosis))
    return jpeg(grey if shown is None else overlay(grey, display.sized(shown.voxels[index], _PIXELS)))
