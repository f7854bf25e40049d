"""The lesions as a binary Segmentation (PS3.3 A.51) on the frames of the original images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.sequence import Sequence as DicomSequence

from scripts.dicom_output.coding import CATEGORY, concept
from scripts.dicom_output.identity import Identity
from scripts.dicom_output.referenced_images import describe_each_frame, name_dimensions, without_patient
from scripts.labels import TOTAL_GROUP, VOCABULARIES, Label

_LONGEST_LABEL = 64


@dataclass(frozen=True)
class Segment:
    """One segment, before it has a number.

    Attributes
    ----------
    key : str
        ``"total"``, the key of a compartment, or that of a subtype.
    name : str
        Segment Label (0062,0005).
    code : dict
        As in ``result.json``: finding, region and its modifier.
    colour : tuple of int
        Red, green, blue, 0..255.
    mask : ndarray of bool, shape (slices, rows, columns)
        Its voxels.
    """

    key: str
    name: str
    code: dict[str, Any]
    colour: tuple[int, int, int]
    mask: NDArray[np.bool_]


def lesion_segments(identity: Identity) -> tuple[Segment, ...]:
    """List what the result states of lesions: all of them, each compartment, and each subtype of a mixed compartment.

    Returns
    -------
    tuple of Segment
        None of them empty; none at all where no lesion is stated.
    """
    result, lesions = identity.result, identity.result.stated_lesions
    if lesions is None:
        return ()
    subtypes = result.voxels(lesions["subtypes_file"])
    keys = result.document["model"]["labels"]
    findings = {finding["key"]: finding for finding in result.findings}
    label = _any_label()
    total = findings.get("any", {"code": _code_of(label), "colour": label.colour})
    found = [Segment(TOTAL_GROUP, "Lesion, total", total["code"], tuple(total["colour"]), subtypes > 0)]
    for group in lesions["groups"]:
        members = [key for key in group["labels"] if key in keys]
        if not members:
            # Its only compartment: the segment of all lesions is the same.
            continue
        mask = np.isin(subtypes, [keys.index(key) for key in members])
        found.append(Segment(group["key"], f"Lesion, {group['name']}", group["code"], tuple(group["colour"]), mask))
        for key in members if len(members) > 1 else ():
            finding = findings[key]
            found.append(
                Segment(key, finding["name"], finding["code"], tuple(finding["colour"]), subtypes == keys.index(key))
            )
    return tuple(segment for segment in found if segment.mask.any())


def lesion_segmentation(identity: Identity, segments: tuple[Segment, ...]) -> hd.seg.Segmentation:
    """Write the segments into one object; frames without any voxel are left out.

    Parameters
    ----------
    identity : Identity
        Who made it, and of what.
    segments : tuple of Segment
        From :func:`lesion_segments`; at least one.
    """
    source = identity.source
    masks = np.stack([segment.mask for segment in segments], axis=-1)
    slices = np.flatnonzero(masks.any(axis=(1, 2, 3)))
    images = without_patient(source)
    if source.is_multi_frame:
        pixels = source.in_stored_order(masks.astype(np.uint8))
    else:
        # Slices without a lesion need neither a frame nor a reference.
        pixels, images = masks[slices].astype(np.uint8), tuple(images[index] for index in slices)
    segmentation = hd.seg.Segmentation(
        source_images=list(images),
        pixel_array=pixels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(identity, number, each) for number, each in enumerate(segments, start=1)],
        series_instance_uid=identity.uid("lesions", "series"),
        series_number=9903,
        sop_instance_uid=identity.uid("lesions", "instance"),
        instance_number=1,
        content_label="LESIONS",
        content_creator_name="",
        content_description="Lesions found by the network, research use only",
        series_description="ICHDiagnosis lesions (research use only)",
        **identity.equipment(),
    )
    name_dimensions(segmentation, identity.uid("lesions", "dimensions"))
    if not source.is_multi_frame:
        describe_each_frame(segmentation, source)
    return segmentation


def _description(identity: Identity, number: int, segment: Segment) -> hd.seg.SegmentDescription:
    described = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.name[:_LONGEST_LABEL],
        segmented_property_category=CATEGORY,
        segmented_property_type=concept(segment.code["finding"]),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=identity.algorithm(),
        tracking_uid=identity.uid("tracking", segment.key),
        tracking_id=segment.key,
        anatomic_regions=[concept(segment.code["region"])],
        display_color=hd.color.CIELabColor.from_rgb(*segment.colour),
    )
    modifier = segment.code.get("region_modifier")
    if modifier:
        region = described.AnatomicRegionSequence[0]
        region.AnatomicRegionModifierSequence = DicomSequence([concept(modifier)])
    return described


def _any_label() -> Label:
    return next(label for label in VOCABULARIES["rsna"] if label.key == "any")


def _code_of(label: Label) -> dict[str, dict[str, str]]:
    return {"finding": vars(label.finding), "region": vars(label.region)}
