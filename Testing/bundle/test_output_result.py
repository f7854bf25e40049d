"""result.json keeps its schema."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import nibabel as nib
import numpy as np
import pytest
from sample_diagnosis import NEGATIVE, a_diagnosis, a_marked_map, a_refusal, a_study, an_affine, with_lesions

from scripts.diagnosis import MAP_KINDS
from scripts.intake.study import Provenance, QualityWarning
from scripts.labels import RSNA
from scripts.messages import Message
from scripts.output.earlier_version import brought_up_to_date
from scripts.output.folder import OutputError
from scripts.output.result import refusal_document, result_document, write_result_folder
from scripts.volume_calibration import VolumeBand, VolumeCalibration

DOCS = Path(__file__).parents[2] / "monai_bundle" / "docs"
SCHEMA = json.loads((DOCS / "result.schema.json").read_text("utf-8"))
SCHEMA_1 = json.loads((DOCS / "result.schema-1.json").read_text("utf-8"))


def as_version_1(document: dict) -> dict:
    """Return a result as version 1 wrote it."""
    earlier = json.loads(json.dumps(document))
    earlier["schema"] = "ich-diagnosis-result/1"
    del earlier["impression"]
    earlier["study"].pop("considered", None)
    for entry in (earlier, *earlier["maps"]):
        for name in ("lesions", "mirrored_views", "fixed_scale", "largest"):
            entry.pop(name, None)
    earlier["study"].pop("considered", None)
    for finding in earlier["findings"]:
        finding["threshold_chosen"] = not finding.pop("default_threshold")
        finding["code"].pop("region_modifier", None)
    for entry in earlier["slices"]:
        del entry["sop_instance_uid"]
        entry.pop("probabilities", None)
        entry["read"] = True
    earlier["study"]["quality"] = [
        {"name": warning["code"], "message": warning["message"]} for warning in earlier["study"]["quality"]
    ]
    return earlier


def test_an_evaluated_study_keeps_the_schema():
    document = result_document(a_diagnosis(a_study(warnings=(QualityWarning("gantry_tilt", degrees=18),))))
    jsonschema.validate(document, SCHEMA)
    assert document["status"] == "evaluated"
    assert [finding["key"] for finding in document["findings"]] == [label.key for label in RSNA]
    assert [finding["positive"] for finding in document["findings"]] == [True, False, True, False, False, True]
    assert len(document["slices"]) == document["study"]["slices"] == 12
    assert sorted(entry["key_rank"] for entry in document["slices"] if entry["key_rank"]) == [1, 2, 3, 4, 5]
    assert document["study"]["quality"] == [
        {"code": "gantry_tilt", "message": "gantry tilted by 18.0 degrees; slices kept as stored"}
    ]
    assert "Research use only" in document["model"]["notice"]


def test_a_result_states_whether_slices_were_read_from_both_sides():
    for mirrored in (True, False):
        document = result_document(replace(a_diagnosis(), mirrored_views=mirrored))
        assert document["mirrored_views"] is mirrored
        jsonschema.validate(document, SCHEMA)
    refused = refusal_document(a_refusal())
    assert refused["mirrored_views"] is None
    for each in (document, refused):
        # As an earlier version wrote it.
        del each["mirrored_views"]
        jsonschema.validate(each, SCHEMA)


def test_the_schema_knows_every_kind_of_map():
    assert set(SCHEMA["properties"]["maps"]["items"]["properties"]["kind"]["enum"]) == set(MAP_KINDS)


def test_the_impression_is_part_of_the_result():
    assert result_document(a_diagnosis())["impression"] == {
        "code": "haemorrhage_likely",
        "text": "Intracranial haemorrhage likely: subdural (87 %), intraparenchymal (56 %)",
        "certainty": "positive",
        "caution": "A model's estimate, not a diagnosis: read the key slices yourself.",
    }


def test_a_network_without_a_lesion_decoder_states_no_lesions():
    assert result_document(a_diagnosis())["lesions"] is None


def test_lesions_are_stated_with_their_volumes_files_and_limits():
    calibration = VolumeCalibration(0.9, {"total": (VolumeBand(0.0, 0.5, 2.0, 20),)})
    diagnosis = with_lesions(a_diagnosis(), calibration)
    document = result_document(diagnosis)
    jsonschema.validate(document, SCHEMA)
    lesions = document["lesions"]
    ml = float((diagnosis.lesions.subtypes > 0).sum()) * 0.5 * 0.5 * 5 / 1000
    assert [(volume["group"], volume["low_ml"]) for volume in lesions["volumes"]] == [
        ("total", pytest.approx(ml / 2)),
        ("extra_axial", None),
    ]
    assert lesions["volumes"][0] == {
        "group": "total",
        "ml": pytest.approx(ml),
        "low_ml": pytest.approx(ml / 2),
        "high_ml": pytest.approx(2 * ml),
        "mask_ml": pytest.approx(ml),
    }
    assert (lesions["file"], lesions["subtypes_file"]) == ("lesion.nii.gz", "lesion_subtypes.nii.gz")
    assert (lesions["threshold"], lesions["level"], lesions["spacing_assumed"]) == (0.5, 0.9, False)
    assert lesions["stated"]
    regions = {group["key"]: group["code"]["region"]["value"] for group in lesions["groups"]}
    assert regions == {
        "parenchymal": "12738006",
        "ventricular": "35764002",
        "subarachnoid": "35951006",
        "extra_axial": "1231004",
    }
    # Half way between two hundredths: which one is written depends on the last digit of a sum.
    about = f"{lesions['volumes'][0]['ml']:.2f}"
    assert about in ("0.56", "0.57")
    assert document["impression"]["text"].endswith(f"; about {about} ml (0.28 to 1.1), extra-axial")


def test_the_files_of_a_lesion_lie_on_the_voxels_of_the_ct(tmp_path: Path):
    diagnosis = with_lesions(a_diagnosis(a_study((12, 40, 50), file_axes=(2, 0, 1))))
    folder = write_result_folder(diagnosis, tmp_path)
    for name, voxels in (
        ("lesion.nii.gz", diagnosis.lesions.probability),
        ("lesion_subtypes.nii.gz", diagnosis.lesions.subtypes),
    ):
        image = nib.Nifti1Image.from_filename(folder / name)
        assert image.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), diagnosis.study.in_file_order(voxels))
        np.testing.assert_allclose(image.affine, diagnosis.study.file_affine, atol=1e-4)


def test_a_negative_scan_keeps_its_lesion_map_and_claims_no_volume(tmp_path: Path):
    diagnosis = with_lesions(a_diagnosis(probabilities=NEGATIVE))
    assert diagnosis.lesions.volumes
    folder = write_result_folder(diagnosis, tmp_path)
    document = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert not document["lesions"]["stated"]
    assert " ml" not in document["impression"]["text"]
    assert " ml" not in (folder / "report.html").read_text(encoding="utf-8").partition("technical")[0]
    assert (folder / "lesion.nii.gz").is_file()


def test_the_scale_of_a_map_is_stated_and_whether_it_is_the_same_in_every_scan():
    diagnosis = a_diagnosis()
    fixed = replace(diagnosis.maps[1], scale=8.0, fixed_scale=True, largest=1.3)
    maps = result_document(replace(diagnosis, maps=(diagnosis.maps[0], fixed)))["maps"]
    assert [(entry["scale"], entry["fixed_scale"], entry["largest"]) for entry in maps[1:]] == [(8.0, True, 1.3)]
    assert not maps[0]["fixed_scale"]


def test_each_slice_names_the_instance_that_it_was_stored_in():
    uids = (*(f"1.2.{index}" for index in range(11)), "")
    document = result_document(a_diagnosis(a_study(sop_instance_uids=uids)))
    assert [entry["sop_instance_uid"] for entry in document["slices"]] == [*uids[:11], None]
    assert all(entry["sop_instance_uid"] is None for entry in result_document(a_diagnosis())["slices"])


@pytest.mark.parametrize("document", [result_document(a_diagnosis()), refusal_document(a_refusal())])
def test_a_result_of_version_1_is_brought_up_to_date(document):
    earlier = as_version_1(document)
    jsonschema.validate(earlier, SCHEMA_1)
    renewed = brought_up_to_date(earlier)
    jsonschema.validate(renewed, SCHEMA)
    assert as_version_1(renewed) == earlier
    assert renewed["impression"] == document["impression"]
    assert brought_up_to_date(document) is document


def test_a_result_of_version_1_need_not_name_default_thresholds():
    earlier = as_version_1(result_document(a_diagnosis()))
    for finding in earlier["findings"]:
        del finding["threshold_chosen"]
    jsonschema.validate(earlier, SCHEMA_1)
    assert not any(finding["default_threshold"] for finding in brought_up_to_date(earlier)["findings"])


def test_the_table_names_series_and_slices_that_were_not_read():
    plain, bone = (Message("series.numbered", number=number) for number in (2, 3))
    choice = (
        Message("series.chosen", series=plain),
        Message("series.copies", series=plain, slices=4),
        Message("series.left_out", series=bone, reason=Message("series.bone_kernel")),
    )
    diagnosis = a_diagnosis(a_study(provenance=Provenance("head", "dicom", series_choice=choice)))
    read = replace(diagnosis, input_slices=((2, 3), (4,), (6, 7, 8, 9, 10)))
    assert result_document(read)["study"]["considered"] == [
        {"item": "Series 2", "outcome": "read", "reason": ""},
        {"item": "Series 2", "outcome": "passed_over", "reason": "4 identical copies"},
        {"item": "Series 3", "outcome": "passed_over", "reason": "bone kernel"},
        {"item": "Slices 1 to 2", "outcome": "passed_over", "reason": "no brain in them"},
        {"item": "Slice 6", "outcome": "passed_over", "reason": "no brain in them"},
        {"item": "Slice 12", "outcome": "passed_over", "reason": "no brain in them"},
    ]


def test_a_refusal_keeps_the_schema():
    document = refusal_document(a_refusal())
    jsonschema.validate(document, SCHEMA)
    assert document["reason"] == {"code": "too_few_slices", "message": "7 slices, at least 12 needed"}
    assert document["impression"] is None
    assert document["study"]["slices"] is None


def test_the_shape_is_that_of_the_map_files():
    document = result_document(a_diagnosis(a_study((12, 20, 30), file_axes=(2, 0, 1))))
    assert document["study"]["shape"] == [20, 12, 30]


def test_no_folder_above_the_study_is_written():
    provenance = Provenance(source_name="/home/someone/Doe^Jane/CT 1", source_format="dicom")
    assert result_document(a_diagnosis(a_study(provenance=provenance)))["study"]["source_name"] == "CT 1"


@pytest.mark.parametrize("probability", [math.nan, math.inf, 1.5, -0.1])
def test_a_probability_that_is_none_is_refused(probability):
    diagnosis = a_diagnosis()
    broken = (replace(diagnosis.findings[0], probability=probability), *diagnosis.findings[1:])
    with pytest.raises(OutputError, match=r"findings\[0\]\.probability") as caught:
        result_document(replace(diagnosis, findings=broken))
    assert "\n" not in str(caught.value)


def test_two_maps_of_one_label_are_refused_because_they_share_a_file():
    diagnosis = a_diagnosis()
    with pytest.raises(OutputError, match=r"share the file gradcam_subdural\.nii\.gz"):
        result_document(replace(diagnosis, maps=(*diagnosis.maps, a_marked_map(diagnosis.study, (0, 0, 0)))))


def test_slices_that_are_not_the_study_s_are_refused():
    diagnosis = a_diagnosis()
    with pytest.raises(OutputError, match="11 slices described, 12 stored"):
        result_document(replace(diagnosis, slices=diagnosis.slices[:-1]))


def test_a_tilted_study_says_so(tmp_path: Path):
    document = result_document(a_diagnosis(a_study(affine=an_affine(tilt_degrees=18.5))))
    assert document["study"]["tilt_degrees"] == pytest.approx(18.5, abs=1e-6)
