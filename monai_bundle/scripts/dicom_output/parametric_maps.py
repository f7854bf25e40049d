"""Lesion probability and attribution as Parametric Maps (PS3.3 A.75) of float values on the original frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from scripts.dicom_output.coding import OTHER_EXPLANATION, QUANTITIES
from scripts.dicom_output.identity import Identity
from scripts.dicom_output.referenced_images import (
    describe_each_frame,
    name_dimensions,
    store_in_order_of_slices,
    without_patient,
)

_LARGEST_STORED = 255


@dataclass(frozen=True)
class QuantityMap:
    """One map.

    Attributes
    ----------
    name : str
        Name of its file, without a suffix.
    file : str
        The map in the result folder.
    largest : float
        What its 255 stands for: probability 1, or a value in logits.
    quantity : Code
        What its values are (CID 7180).
    explanation : str
        The same in words.
    """

    name: str
    file: str
    largest: float
    quantity: Code
    explanation: str


def maps_to_export(identity: Identity) -> Iterator[QuantityMap]:
    """List the maps that a reader is shown too: of stated lesions, and of positive findings."""
    result = identity.result
    lesions = result.stated_lesions
    if lesions is not None:
        quantity = codes.DCM.FractionalProbabilisticSegmentation
        yield QuantityMap("lesion_probability", lesions["file"], 1.0, quantity, "Probability of haemorrhage, 0 to 1")
    for entry in result.document["maps"]:
        if entry["label"] in result.positive_keys:
            yield QuantityMap(
                f"attribution_{entry['label']}",
                entry["file"],
                float(entry["scale"]),
                QUANTITIES.get(entry["kind"], OTHER_EXPLANATION),
                f"{entry['kind']} of {entry['label']} in logits: evidence, not an outline",
            )


def parametric_map(identity: Identity, described: QuantityMap, number: int) -> hd.pm.ParametricMap | None:
    """Write one map, from the first slice to the last in which it is not 0; None where it is 0 everywhere.

    Parameters
    ----------
    identity : Identity
        Who made it, and of what.
    described : QuantityMap
        From :func:`maps_to_export`.
    number : int
        Instance Number (0020,0013) among the maps.
    """
    source = identity.source
    stored = identity.result.voxels(described.file)
    occupied = np.flatnonzero(stored.any(axis=(1, 2)))
    if not occupied.size:
        return None
    slices = range(int(occupied[0]), int(occupied[-1]) + 1)
    images = without_patient(source)
    if source.is_multi_frame:
        pixels = source.in_stored_order(in_units(stored, described.largest))
    else:
        pixels = in_units(stored[slices.start : slices.stop], described.largest)
        images = images[slices.start : slices.stop]
    written = hd.pm.ParametricMap(
        source_images=list(images),
        pixel_array=pixels,
        series_instance_uid=identity.uid("maps", "series"),
        series_number=9904,
        sop_instance_uid=identity.uid("maps", described.name),
        instance_number=number,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_mapping(described)],
        voi_lut_transformations=[
            hd.VOILUTTransformation(window_center=described.largest / 2, window_width=described.largest)
        ],
        content_label="MAP",
        content_creator_name="",
        content_description=described.explanation[:64],
        series_description="ICHDiagnosis maps (research use only)",
        **identity.equipment(),
    )
    _place_in_head(written)
    store_in_order_of_slices(written, source)
    name_dimensions(written, identity.uid("maps", described.name, "dimensions"))
    if not source.is_multi_frame:
        describe_each_frame(written, source)
    return written


def in_units(stored: NDArray[np.uint8], largest: float) -> NDArray[np.float32]:
    """Return a map's values in its own unit, float32: 255 is ``largest``."""
    return (stored.astype(np.float64) * (largest / _LARGEST_STORED)).astype(np.float32)


def _place_in_head(written: hd.pm.ParametricMap) -> None:
    """State that it shows a head, which has no side (Frame Anatomy Macro, PS3.3 C.7.6.16.2.8)."""
    anatomy = Dataset()
    anatomy.FrameLaterality = "U"
    anatomy.AnatomicRegionSequence = DicomSequence([hd.sr.CodedConcept.from_code(codes.SCT.Head)])
    written.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = DicomSequence([anatomy])
    # Without an unpaired body part Laterality (0020,0060) would be asked for.
    written.BodyPartExamined = "HEAD"


def _mapping(described: QuantityMap) -> hd.pm.RealWorldValueMapping:
    return hd.pm.RealWorldValueMapping(
        lut_label="VALUE",
        lut_explanation=described.explanation[:64],
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, described.largest),
        slope=1.0,
        intercept=0.0,
        quantity_definition=described.quantity,
    )
