"""The findings as a Comprehensive 3D SR by the template Measurement Report (PS3.16, TID 1500)."""

from __future__ import annotations

from typing import Any

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from scripts.dicom_output.coding import CATEGORY, PROCEDURE, concept, own_scheme, sites
from scripts.dicom_output.identity import Identity
from scripts.dicom_output.referenced_images import without_patient
from scripts.dicom_output.segmentation import Segment

PRESENCE = codes.DCM.PresenceOfProperty
PROBABILITY = codes.DCM.CertaintyOfFinding
THRESHOLD = codes.DCM.ThresholdValue
VOLUME = codes.SCT.Volume
_MILLILITRE = hd.sr.CodedConcept("mL", "UCUM", "milliliter")


def findings_report(
    identity: Identity, segments: tuple[Segment, ...], segmentation: hd.seg.Segmentation | None
) -> hd.sr.Comprehensive3DSR:
    """Write every finding with probability, threshold and presence, and the volumes of the lesions.

    Parameters
    ----------
    identity : Identity
        Who found it, and in what.
    segments : tuple of Segment
        Those of the segmentation, in its order.
    segmentation : Segmentation or None
        The segmentation of the lesions; None where none are stated.
    """
    result = identity.result
    images = _key_images(identity)
    groups: list[Any] = [_finding(identity, finding, images) for finding in result.findings]
    if segmentation is not None:
        groups += _volumes(identity, segments, segmentation)
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=identity.observer()),
        procedure_reported=PROCEDURE,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        # The library (TID 1600) describes images one by one, which frames are not.
        referenced_images=None if identity.source.is_multi_frame else images,
    )
    model, impression = result.document["model"], result.document["impression"]
    for name, value in (
        (codes.DCM.Impression, f"{impression['text']}. {impression['caution']}"),
        (codes.DCM.Comment, model["notice"]),
        (codes.DCM.Comment, _provenance(identity)),
    ):
        report[0].ContentSequence.append(
            hd.sr.TextContentItem(name=name, value=value, relationship_type=hd.sr.RelationshipTypeValues.CONTAINS)
        )
    return hd.sr.Comprehensive3DSR(
        evidence=[*without_patient(identity.source), *([] if segmentation is None else [segmentation])],
        content=report,
        series_instance_uid=identity.uid("findings", "series"),
        series_number=9901,
        sop_instance_uid=identity.uid("findings", "instance"),
        instance_number=1,
        is_complete=True,
        is_final=False,
        is_verified=False,
        performed_procedure_codes=[PROCEDURE],
        coding_schemes=own_scheme(result.findings),
        series_description="ICHDiagnosis findings (research use only)",
        **identity.equipment(),
    )


def _key_images(identity: Identity) -> list[Dataset]:
    """Return the images of the key slices, first rank first; the multi-frame image once."""
    bare = without_patient(identity.source)
    if identity.source.is_multi_frame:
        return list(bare)
    return [bare[entry["index"]] for entry in identity.result.key_slices]


def _references(identity: Identity) -> list[hd.sr.SourceImageForMeasurementGroup]:
    source = identity.source
    indices = [entry["index"] for entry in identity.result.key_slices]
    if source.is_multi_frame:
        frames = sorted(number for index in indices if (number := source.frame_number(index)) is not None)
        return [
            hd.sr.SourceImageForMeasurementGroup(source.first.SOPClassUID, source.first.SOPInstanceUID, frames or None)
        ]
    return [
        hd.sr.SourceImageForMeasurementGroup(
            source.instances[index].SOPClassUID, source.instances[index].SOPInstanceUID
        )
        for index in indices
    ]


def _finding(
    identity: Identity, finding: dict[str, Any], images: list[Dataset]
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    chosen = "default, none was chosen" if finding["default_threshold"] else "chosen"
    percent = codes.UCUM.Percent
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(identity.uid("finding", finding["key"]), finding["name"]),
        finding_type=concept(finding["code"]["finding"]),
        finding_category=CATEGORY,
        finding_sites=sites(finding["code"]),
        algorithm_id=_algorithm(identity, f"threshold={chosen}"),
        measurements=[
            hd.sr.Measurement(PROBABILITY, _percentage(finding["probability"]), percent),
            hd.sr.Measurement(THRESHOLD, _percentage(finding["threshold"]), percent),
        ],
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(PRESENCE, codes.cid240.Present if finding["positive"] else codes.cid240.Absent)
        ],
        source_images=_references(identity) if images else None,
    )


def _percentage(fraction: float) -> float:
    """Return percent with as many digits as a Decimal String holds (PS3.5, table 6.2-1)."""
    return float(f"{100 * fraction:.8g}")


def _volumes(
    identity: Identity, segments: tuple[Segment, ...], segmentation: hd.seg.Segmentation
) -> list[hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations]:
    lesions = identity.result.stated_lesions or {}
    numbers = {segment.key: (number, segment) for number, segment in enumerate(segments, start=1)}
    found = []
    for volume in lesions["volumes"]:
        if volume["group"] not in numbers:
            continue
        number, segment = numbers[volume["group"]]
        found.append(
            hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=hd.sr.TrackingIdentifier(identity.uid("tracking", segment.key), segment.name),
                referenced_segment=hd.sr.ReferencedSegment(
                    sop_class_uid=segmentation.SOPClassUID,
                    sop_instance_uid=segmentation.SOPInstanceUID,
                    segment_number=number,
                    source_series=hd.sr.SourceSeriesForSegmentation(identity.source.first.SeriesInstanceUID),
                ),
                finding_type=concept(segment.code["finding"]),
                finding_category=CATEGORY,
                finding_sites=sites(segment.code),
                algorithm_id=_algorithm(identity, f"lesion_threshold={lesions['threshold']:g}"),
                measurements=[_volume(volume)],
            )
        )
    return found


def _volume(volume: dict[str, Any]) -> hd.sr.Measurement:
    """Return a volume, ml, with the distances to its limits where they were measured."""
    millilitres = float(f"{volume['ml']:.6g}")
    properties = None
    if volume["low_ml"] is not None and volume["high_ml"] is not None:
        properties = hd.sr.MeasurementProperties(
            upper_measurement_uncertainty=float(f"{volume['high_ml'] - millilitres:.6g}"),
            lower_measurement_uncertainty=float(f"{millilitres - volume['low_ml']:.6g}"),
        )
    return hd.sr.Measurement(VOLUME, millilitres, _MILLILITRE, properties=properties)


def _algorithm(identity: Identity, *further: str) -> hd.sr.AlgorithmIdentification:
    parameters = [f"{name}={value}" for name, value in identity.parameters.items()]
    return hd.sr.AlgorithmIdentification(
        name=identity.model_name,
        version=identity.version,
        parameters=[*parameters, *further],
    )


def _provenance(identity: Identity) -> str:
    document = identity.result.document
    warnings = [entry["message"] for entry in document["study"]["quality"]]
    return "; ".join(
        [
            f"{identity.model_name} {identity.version}",
            f"weights SHA-256 {identity.serial_number}",
            f"operating point {document['operating_point']}",
            *(f"image quality: {warning}" for warning in warnings),
        ]
    )
