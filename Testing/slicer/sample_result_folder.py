"""Result folders as the bundle writes them, of this version and of the one before (json, numpy, nibabel)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

CONTRACTS = sorted((Path(__file__).resolve().parents[2] / "monai_bundle").rglob("result.schema*.json"))
LABELS = {
    "any": ("Any intracranial haemorrhage", ("1101003", "Intracranial"), (230, 75, 53)),
    "intraparenchymal": ("Intraparenchymal haemorrhage", ("12738006", "Brain"), (190, 60, 160)),
    "subdural": ("Subdural haemorrhage", ("18545000", "Dura mater"), (120, 190, 60)),
}
POSITIVE = ("any", "subdural")
REGION_MODIFIERS = {"subdural": {"scheme": "SCT", "value": "260521003", "meaning": "Internal"}}
KEY_SLICES = {3: 1, 5: 2}
"""Original slice -> rank."""


AT_DEFAULT_THRESHOLD = "intraparenchymal"
"""The label for which no threshold was chosen."""


def finding(key: str, positive: bool) -> dict[str, Any]:
    name, region, colour = LABELS[key]
    return {
        "key": key,
        "name": name,
        "code": {
            "finding": {"scheme": "SCT", "value": "50960005", "meaning": "Hemorrhage"},
            "region": {"scheme": "SCT", "value": region[0], "meaning": region[1]},
            **({"region_modifier": REGION_MODIFIERS[key]} if key in REGION_MODIFIERS else {}),
        },
        "colour": list(colour),
        "probability": 0.91 if positive else 0.12,
        "threshold": 0.5,
        "default_threshold": key == AT_DEFAULT_THRESHOLD,
        "positive": positive,
    }


def impression(positive: tuple[str, ...]) -> dict[str, str]:
    """Return an impression in words of its own: what is shown can only have come from the file."""
    if positive:
        return {
            "code": "haemorrhage_likely",
            "text": f"Impression of the file: {', '.join(positive)} (91 %)",
            "certainty": "positive",
            "caution": "Caution of the file: an estimate.",
        }
    return {
        "code": "no_haemorrhage",
        "text": "Impression of the file: nothing found",
        "certainty": "negative",
        "caution": "Caution of the file: small bleeds can be missed.",
    }


def slices(count: int) -> list[dict[str, Any]]:
    weights = np.array([1.0 + 9.0 / KEY_SLICES.get(index, 9) for index in range(count)])
    attention = weights / weights.sum()
    return [
        {
            "index": index,
            "position_mm": 5.0 * index,
            "attention": float(attention[index]),
            "key_rank": KEY_SLICES.get(index),
            "sop_instance_uid": f"1.2.3.4.{index}",
        }
        for index in range(count)
    ]


SURE_SLICE, UNREAD_SLICE = 5, 0
"""The slice on which the slice classifier is surest, and one that it was not given."""


def with_slice_labels(content: dict[str, Any]) -> dict[str, Any]:
    """Return a ``result.json`` with the slice classifier's values: less by a tenth for each slice from the surest."""
    weights = {"any": 1.0, "intraparenchymal": 0.1, "subdural": 0.8}
    labelled = []
    for entry in content["slices"]:
        value = max(0.9 - 0.1 * abs(entry["index"] - SURE_SLICE), 0.0)
        known = {key: weights[key] * value for key in LABELS}
        labelled.append(entry | {"probabilities": None if entry["index"] == UNREAD_SLICE else known})
    return content | {"slices": labelled}


def document(
    shape: tuple[int, int, int], slice_axis: int = 2, orientation: str = "LPS", positive: tuple[str, ...] = POSITIVE
) -> dict[str, Any]:
    """Return a whole ``result.json`` of an evaluated study; ``shape`` is that of the map files."""
    maps = [{"kind": "attention", "label": None, "file": "attention.nii.gz", "scale": 0.2}]
    maps += [{"kind": "gradcam", "label": key, "file": f"gradcam_{key}.nii.gz", "scale": 1.5} for key in LABELS]
    return {
        "schema": "ich-diagnosis-result/2",
        "status": "evaluated",
        "reason": None,
        "impression": impression(positive),
        "study": {
            "source_name": "head_ct",
            "source_format": "nifti",
            "study_uid": "1.2.3",
            "series_uid": "1.2.3.4",
            "slices": shape[slice_axis],
            "shape": list(shape),
            "spacing_mm": [0.5, 0.6, 5.0],
            "orientation": orientation,
            "tilt_degrees": 0.0,
            "kernel": None,
            "slice_thickness_mm": 5.0,
            "series_choice": [],
            "quality": [{"code": "thick_slices", "message": "Slices of 5 mm"}],
        },
        "model": {
            "name": "ICHDiagnosis",
            "version": "0.1.0",
            "network": "DrCT2",
            "weights_sha256": {"model.pt": "a" * 64},
            "labels": list(LABELS),
            "trained_on": "made-up data",
            "notice": "Research use only. Not a medical device; not for diagnosis or treatment.",
        },
        "operating_point": "balanced",
        "findings": [finding(key, key in positive) for key in LABELS],
        "slices": slices(shape[slice_axis]),
        "maps": maps,
        "device": "cpu",
        "precision": "float32",
        "mirrored_views": True,
        "seconds": {"network": 1.5},
    }


GROUPS = {
    "parenchymal": (("intraparenchymal",), ("12738006", "Brain"), (240, 60, 200)),
    "extra_axial": (("subdural",), ("1231004", "Meninges"), (150, 230, 40)),
}
SUBTYPES = {"intraparenchymal": 1, "subdural": 2}
"""Place of each subtype among the labels."""


def lesions(volumes: dict[str, tuple[float, float | None, float | None]], stated: bool = True) -> dict[str, Any]:
    """Return the lesions of a ``result.json``; ``volumes`` holds ml and limits by group."""
    return {
        "file": "lesion.nii.gz",
        "subtypes_file": "lesion_subtypes.nii.gz",
        "threshold": 0.5,
        "smallest_ml": 0.2,
        "level": 0.9,
        "spacing_assumed": False,
        "stated": stated,
        "volumes": [
            {"group": group, "ml": ml, "low_ml": low, "high_ml": high} for group, (ml, low, high) in volumes.items()
        ],
        "groups": [
            {
                "key": key,
                "name": key.replace("_", "-"),
                "labels": list(labels),
                "code": {
                    "finding": {"scheme": "SCT", "value": "50960005", "meaning": "Hemorrhage"},
                    "region": {"scheme": "SCT", "value": region[0], "meaning": region[1]},
                },
                "colour": list(colour),
            }
            for key, (labels, region, colour) in GROUPS.items()
        ],
    }


VOLUMES: dict[str, tuple[float, float | None, float | None]] = {
    "total": (31.4, 20.0, 44.6),
    "extra_axial": (28.2, 19.0, 41.0),
    "parenchymal": (3.2, None, None),
}


def made_subtypes(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return a lesion of both groups in map order: the subdural one largest on slice 7, the other on slice 11 alone."""
    subtypes = np.zeros(shape, dtype=np.uint8)
    subtypes[2:5, 3:6, 6] = SUBTYPES["subdural"]
    subtypes[2:7, 3:9, 7] = SUBTYPES["subdural"]
    subtypes[8:10, 2:4, 11] = SUBTYPES["intraparenchymal"]
    return subtypes


REASON = "The outlines were never measured: no volume is stated."
UNSPECIFIED = 255
"""Value of a lesion's voxel whose subtype the network does not tell."""


def lesions_of_no_subtype() -> dict[str, Any]:
    """Return the lesions of a network that finds haemorrhage in pixels without its subtype."""
    group = lesions({})["groups"][0] | {"key": "unspecified", "name": "any type", "labels": []}
    return lesions({}) | {"groups": [group], "volumes_left_out": REASON}


def refusal() -> dict[str, Any]:
    """Return the ``result.json`` of a study that must not be read."""
    refused = document((12, 16, 20))
    refused["study"].update(dict.fromkeys(("slices", "shape", "spacing_mm", "orientation", "tilt_degrees")))
    empty: dict[str, Any] = {"findings": [], "slices": [], "maps": [], "operating_point": None, "device": None}
    reason = {"code": "too_few_slices", "message": "7 slices, at least 12 needed"}
    ending = {"status": "not_evaluable", "reason": reason, "impression": None}
    return {**refused, **empty, "precision": None, "mirrored_views": None, "seconds": {}, **ending}


def of_version_1(content: dict[str, Any]) -> dict[str, Any]:
    """Return a ``result.json`` as the bundle of version 0.3 wrote it: no impression, fields under their names then."""
    earlier = {key: value for key, value in content.items() if key not in ("impression", "mirrored_views")}
    findings = [dict(finding) for finding in content["findings"]]
    for found in findings:
        found["threshold_chosen"] = not found.pop("default_threshold")
        found["code"] = {key: code for key, code in found["code"].items() if key != "region_modifier"}
    quality = [{"name": warning["code"], "message": warning["message"]} for warning in content["study"]["quality"]]
    slices_then = [{**original, "read": True} for original in content["slices"]]
    for original in slices_then:
        del original["sop_instance_uid"]
    seconds = {**content["seconds"], "total": sum(content["seconds"].values())} if content["seconds"] else {}
    return {
        **earlier,
        "schema": "ich-diagnosis-result/1",
        "study": {**content["study"], "quality": quality},
        "findings": findings,
        "slices": slices_then,
        "seconds": seconds,
    }


def write_folder(
    folder: Path,
    content: dict[str, Any],
    voxels: dict[str | None, NDArray],
    affine: NDArray,
    subtypes: NDArray[np.uint8] | None = None,
) -> Path:
    """Write a result folder after checking its ``result.json`` against the bundle's contract of the same version.

    ``voxels`` holds one uint8 array per label (None: attention), or per kind of map, in the axis order of the map
    files, ``subtypes`` the lesions.
    """
    contracts = {contract["$id"]: contract for contract in map(json.loads, map(Path.read_text, CONTRACTS))}
    jsonschema.Draft202012Validator(contracts[content["schema"]]).validate(content)
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "report.html").write_text("<!DOCTYPE html><title>Report</title>", encoding="utf-8")
    for entry in content["maps"]:
        stored = voxels[entry["kind"] if entry["kind"] in voxels else entry["label"]]
        image = nib.Nifti1Image(np.asarray(stored, dtype=np.uint8), affine)
        nib.save(image, folder / entry["file"])
    if subtypes is not None:
        probability = np.where(subtypes > 0, 200, 10).astype(np.uint8)
        nib.save(nib.Nifti1Image(probability, affine), folder / content["lesions"]["file"])
        nib.save(nib.Nifti1Image(subtypes, affine), folder / content["lesions"]["subtypes_file"])
    return folder


def made_maps(shape: tuple[int, int, int], slice_axis: int = 2) -> dict[str | None, NDArray[np.uint8]]:
    """Return maps whose every voxel of the ``subdural`` Grad-CAM is distinct enough to betray a wrong axis."""
    generator = np.random.default_rng(7)
    maps: dict[str | None, NDArray[np.uint8]] = {
        key: generator.integers(0, 256, shape, dtype=np.uint8) for key in LABELS
    }
    inside = [slice(2, -2)] * 3
    inside[slice_axis] = slice(None)
    attention = np.zeros(shape, dtype=np.uint8)
    per_slice = np.array([round(255 * s["attention"] / 0.2) for s in slices(shape[slice_axis])]).clip(0, 255)
    along = [1, 1, 1]
    along[slice_axis] = -1
    attention[tuple(inside)] = np.broadcast_to(per_slice.reshape(along), shape)[tuple(inside)]
    maps[None] = attention
    return maps
