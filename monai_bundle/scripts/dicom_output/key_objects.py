"""The key slices as a Key Object Selection (PS3.3 A.35.4, PS3.16 TID 2010), which viewers open the study at."""

from __future__ import annotations

import highdicom as hd
from pydicom.sr.codedict import codes

from scripts.dicom_output.identity import Identity
from scripts.dicom_output.referenced_images import without_patient


def key_slice_selection(identity: Identity) -> hd.ko.KeyObjectSelectionDocument:
    """Refer to the key slices, first rank first; of a multi-frame image to their frames.

    Parameters
    ----------
    identity : Identity
        Who chose them, and of what; the result has at least one key slice.
    """
    source = identity.source
    bare = without_patient(source)
    entries = identity.result.key_slices
    chosen = list(bare) if source.is_multi_frame else [bare[entry["index"]] for entry in entries]
    slices = ", ".join(f"{entry['index'] + 1} ({100 * entry['attention']:.1f} %)" for entry in entries)
    notice = identity.result.document["model"]["notice"]
    content = hd.ko.KeyObjectSelection(
        document_title=codes.DCM.OfInterest,
        referenced_objects=chosen,
        observer_device_context=identity.observer(),
        description=f"{notice} Key slices of the network, by attention: original slices {slices}.",
    )
    if source.is_multi_frame:
        frames = sorted(number for entry in entries if (number := source.frame_number(entry["index"])) is not None)
        for item in content[0].ContentSequence:
            if item.ValueType == "IMAGE":
                item.ReferencedSOPSequence[0].ReferencedFrameNumber = frames
    return hd.ko.KeyObjectSelectionDocument(
        evidence=chosen,
        content=content,
        series_instance_uid=identity.uid("key slices", "series"),
        series_number=9902,
        sop_instance_uid=identity.uid("key slices", "instance"),
        instance_number=1,
        series_description="ICHDiagnosis key slices (research use only)",
        **identity.equipment(),
    )
