"""Reading a result folder inside Slicer: whole folders come in as written, all others are refused by name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sample_result_folder as sample
from ICHDiagnosisLib.result import earlier_version, reader
from ICHDiagnosisLib.result.content import Certainty, Impression, ResultError, percent
from ICHDiagnosisLib.result.reader import parse_result, read_result

SHAPE = (12, 16, 20)
DOCUMENTS = (
    sample.document(SHAPE),
    sample.document(SHAPE) | {"lesions": sample.lesions(sample.VOLUMES)},
    sample.of_version_1(sample.document(SHAPE)),
)
LIBRARY = Path(__file__).resolve().parents[2] / "ICHDiagnosis"


@pytest.fixture
def a_folder(tmp_path: Path) -> Path:
    maps = sample.made_maps(SHAPE)
    return sample.write_folder(tmp_path / "study ü", sample.document(SHAPE), maps, np.diag([0.5, 0.6, 5, 1]))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    change(content)
    (folder / "result.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_a_whole_folder_is_read_as_it_was_written(a_folder: Path):
    result = read_result(a_folder)
    assert result.evaluated
    assert [f.key for f in result.positive_findings] == ["any", "subdural"]
    subdural = result.finding("subdural")
    assert (subdural.region.value, subdural.region_modifier.value) == ("18545000", "260521003")
    assert result.finding("subdural").colour == (120, 190, 60)
    assert [s.index for s in result.key_slices] == [3, 5]
    assert result.study.shape == SHAPE
    assert [s.sop_instance_uid for s in result.key_slices] == ["1.2.3.4.3", "1.2.3.4.5"]
    assert result.study.quality[0].code == "thick_slices"
    assert [f.key for f in result.findings if f.default_threshold] == [sample.AT_DEFAULT_THRESHOLD]
    assert result.model.weights_sha256 == {"model.pt": "a" * 64}
    assert next(result.map_path(m).name for m in result.maps) == "attention.nii.gz"
    assert result.report == a_folder / "report.html"


@pytest.mark.parametrize(("stated", "read"), [(True, True), (False, False), (None, None), ("absent", None)])
def test_a_result_tells_from_how_many_sides_slices_were_read_unless_an_earlier_version_made_it(stated: Any, read: Any):
    content = sample.document(SHAPE) | {"mirrored_views": stated}
    if stated == "absent":
        del content["mirrored_views"]
    assert parse_result(json.dumps(content)).mirrored_views is read
    with pytest.raises(ResultError, match="mirrored_views"):
        parse_result(json.dumps(content | {"mirrored_views": 1}))


def test_the_impression_is_that_of_the_file(a_folder: Path):
    impression = read_result(a_folder).impression
    assert impression == Impression(
        "haemorrhage_likely",
        "Impression of the file: any, subdural (91 %)",
        Certainty.POSITIVE,
        "Caution of the file: an estimate.",
    )


@pytest.mark.parametrize(
    ("positive", "text", "certainty"),
    [
        (("any", "subdural"), "Result of an earlier version: 2 findings at or above their threshold", "positive"),
        (("any",), "Result of an earlier version: 1 finding at or above its threshold", "positive"),
        ((), "Result of an earlier version: no finding at or above its threshold", "negative"),
    ],
)
def test_a_result_of_version_1_is_read_with_a_count_in_place_of_an_impression(
    tmp_path: Path, caplog, positive: tuple[str, ...], text: str, certainty: str
):
    earlier_version.warn_once.cache_clear()
    now = sample.document(SHAPE, positive=positive)
    maps = sample.made_maps(SHAPE)
    earlier = read_result(sample.write_folder(tmp_path / "then", sample.of_version_1(now), maps, np.eye(4)))
    renewed = read_result(sample.write_folder(tmp_path / "now", now, maps, np.eye(4)))
    assert (earlier.impression.code, earlier.impression.text) == ("earlier_version", text)
    assert earlier.impression.certainty is Certainty(certainty)
    assert "does not exclude haemorrhage" in earlier.impression.caution
    assert earlier.findings == tuple(replace(finding, region_modifier=None) for finding in renewed.findings)
    assert earlier.study == renewed.study
    assert [s.attention for s in earlier.slices] == [s.attention for s in renewed.slices]
    assert {s.sop_instance_uid for s in earlier.slices} == {None}
    assert "schema ich-diagnosis-result/1" in caplog.text
    assert parse_result(earlier.document).impression == earlier.impression


def test_labels_of_slices_are_read_where_the_result_states_them(a_folder: Path):
    assert {original.probabilities for original in read_result(a_folder).slices} == {None}
    result = parse_result(json.dumps(sample.with_slice_labels(sample.document(SHAPE))))
    assert [original.index for original in result.slices if original.probabilities is None] == [sample.UNREAD_SLICE]
    assert result.slices[sample.UNREAD_SLICE].haemorrhage is None
    surest = max(result.slices[1:], key=lambda original: original.haemorrhage)
    assert surest.index == sample.SURE_SLICE
    assert surest.probabilities == pytest.approx({"any": 0.9, "intraparenchymal": 0.09, "subdural": 0.72})


def test_a_finding_of_version_1_without_a_word_on_its_threshold_had_one_chosen():
    earlier = sample.of_version_1(sample.document(SHAPE))
    for finding in earlier["findings"]:
        del finding["threshold_chosen"]
    assert not any(finding.default_threshold for finding in parse_result(json.dumps(earlier)).findings)


def test_a_refusal_of_version_1_states_its_reason(tmp_path: Path):
    earlier = sample.of_version_1(sample.refusal())
    result = read_result(sample.write_folder(tmp_path / "refused", earlier, {}, np.eye(4)))
    assert (result.reason.code, result.impression) == ("too_few_slices", None)


def test_this_reader_reads_the_bundles_contract_and_the_one_before():
    contracts = {json.loads(file.read_text(encoding="utf-8"))["$id"] for file in sample.CONTRACTS}
    assert contracts == {reader.SCHEMA, earlier_version.SCHEMA}


def test_the_text_of_a_result_is_enough_to_restore_it(a_folder: Path):
    result = read_result(a_folder)
    restored = parse_result(result.document)
    assert restored.findings == result.findings
    assert restored.report is None
    with pytest.raises(ResultError, match="restored from a scene"):
        restored.map_path(restored.maps[0])


def test_a_study_that_was_not_evaluated_states_why(tmp_path: Path):
    result = read_result(sample.write_folder(tmp_path / "refused", sample.refusal(), {}, np.eye(4)))
    assert not result.evaluated
    assert result.reason is not None
    assert (result.reason.code, result.reason.message) == ("too_few_slices", "7 slices, at least 12 needed")


def test_a_finding_that_does_not_exist_is_a_key_error(a_folder: Path):
    with pytest.raises(KeyError):
        read_result(a_folder).finding("fracture")


def test_a_missing_folder_is_refused(tmp_path: Path):
    with pytest.raises(ResultError, match="no result folder 'nowhere'"):
        read_result(tmp_path / "nowhere")


def test_a_foreign_folder_is_refused(tmp_path: Path):
    (tmp_path / "holiday.jpg").write_bytes(b"\xff")
    with pytest.raises(ResultError, match=r"holds no result\.json"):
        read_result(tmp_path)


@pytest.mark.parametrize("content", ['{"schema": "ich-diagn', "", "[" * 100_000, '{"schema": NaN}', "\x00"])
def test_a_half_written_document_is_refused(a_folder: Path, content: str):
    (a_folder / "result.json").write_text(content, encoding="utf-8")
    with pytest.raises(ResultError, match="half-written or damaged"):
        read_result(a_folder)


def test_a_document_that_is_not_utf8_is_refused(a_folder: Path):
    (a_folder / "result.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ResultError, match="cannot be read"):
        read_result(a_folder)


@pytest.mark.parametrize("schema", ["ich-diagnosis-result/3", None, 1])
def test_another_schema_is_refused(a_folder: Path, schema: object):
    with pytest.raises(ResultError, match="this version reads 'ich-diagnosis-result/2'"):
        read_result(rewrite(a_folder, lambda content: content.update(schema=schema)))


@pytest.mark.parametrize("content", ["[]", "3", '"text"', "null"])
def test_a_document_that_is_no_object_is_refused(content: str):
    with pytest.raises(ResultError, match="schema"):
        parse_result(content)


def test_the_attention_within_slices_is_a_map_of_the_whole_scan(a_folder: Path):
    extra = {"kind": "feature_attention", "label": None, "file": "feature_attention.nii.gz", "scale": 0.9}
    (a_folder / "feature_attention.nii.gz").write_bytes((a_folder / "attention.nii.gz").read_bytes())
    result = read_result(rewrite(a_folder, lambda content: content["maps"].append(extra)))
    assert [evidence.kind for evidence in result.maps if evidence.label is None] == ["attention", "feature_attention"]


def test_a_map_of_a_method_that_the_bundle_learnt_later_is_read(a_folder: Path):
    def by_another_method(content: dict) -> None:
        for entry in content["maps"]:
            if entry["label"] is not None:
                entry["kind"] = "occlusion"

    result = read_result(rewrite(a_folder, by_another_method))
    assert {found.kind for found in result.maps if found.label is not None} == {"occlusion"}


@pytest.fixture
def with_lesions(tmp_path: Path) -> Path:
    content = sample.document(SHAPE) | {"lesions": sample.lesions(sample.VOLUMES)}
    subtypes = sample.made_subtypes(SHAPE)
    return sample.write_folder(tmp_path / "lesions", content, sample.made_maps(SHAPE), np.eye(4), subtypes)


def test_lesions_are_read_with_their_volumes(with_lesions: Path):
    result = read_result(with_lesions)
    total, extra_axial, parenchymal = result.stated_lesions.volumes
    assert (total.group, total.ml, total.low_ml, total.high_ml) == ("total", 31.4, 20.0, 44.6)
    assert (parenchymal.low_ml, parenchymal.high_ml) == (None, None)
    group = result.lesions.group(extra_axial.group)
    assert (group.labels, group.region.value, group.colour) == (("subdural",), "1231004", (150, 230, 40))
    assert result.lesions.group("total") is None
    assert result.file_path(result.lesions.subtypes_file).is_file()


@pytest.mark.parametrize("stated", [{"lesions": None}, {}])
def test_a_result_of_a_network_without_a_lesion_decoder_has_none(stated: dict[str, None]):
    result = parse_result(json.dumps(sample.document(SHAPE) | stated))
    assert (result.lesions, result.stated_lesions) == (None, None)


def test_lesions_of_a_negative_study_are_not_stated():
    content = sample.document(SHAPE, positive=()) | {"lesions": sample.lesions(sample.VOLUMES, stated=False)}
    result = parse_result(json.dumps(content))
    assert result.lesions.volumes
    assert result.stated_lesions is None


@pytest.mark.parametrize("name", ["lesion.nii.gz", "lesion_subtypes.nii.gz"])
def test_a_missing_lesion_file_is_refused(with_lesions: Path, name: str):
    (with_lesions / name).unlink()
    with pytest.raises(ResultError, match=name):
        read_result(with_lesions)


@pytest.mark.parametrize("change", [{"group": "total"}, {"group": "brain"}])
def test_volumes_of_a_group_that_is_unknown_or_named_twice_are_refused(change: dict[str, str]):
    content = sample.document(SHAPE) | {"lesions": sample.lesions(sample.VOLUMES)}
    content["lesions"]["volumes"][1] |= change
    with pytest.raises(ResultError, match="each once"):
        parse_result(json.dumps(content))


def test_a_missing_map_is_refused(a_folder: Path):
    (a_folder / "gradcam_subdural.nii.gz").unlink()
    with pytest.raises(ResultError, match=r"gradcam_subdural\.nii\.gz' is missing"):
        read_result(a_folder)


@pytest.mark.parametrize(
    "name",
    ["../attention.nii.gz", "/etc/passwd", "..", "", ".hidden", "a\\b", "C:evil", "sub/attention.nii.gz", "a\0b"],
)
def test_a_map_name_that_leads_out_of_the_folder_is_refused(a_folder: Path, name: str):
    (a_folder.parent / "attention.nii.gz").write_bytes(b"outside")
    with pytest.raises(ResultError, match="outside its folder"):
        read_result(rewrite(a_folder, lambda content: content["maps"][0].update(file=name)))


def test_a_map_that_is_a_link_out_of_the_folder_is_refused(a_folder: Path):
    outside = a_folder.parent / "attention.nii.gz"
    (a_folder / "attention.nii.gz").rename(outside)
    (a_folder / "attention.nii.gz").symlink_to(outside)
    with pytest.raises(ResultError, match="is a link"):
        read_result(a_folder)


def test_the_reader_and_the_process_need_nothing_but_the_standard_library():
    program = (
        f"import sys; sys.path.insert(0, {str(LIBRARY)!r})\n"
        "from ICHDiagnosisLib.result import findings_csv, reader\n"
        "from ICHDiagnosisLib.bundle import process, run\n"
        "assert not {'numpy', 'vtk', 'slicer'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-I", "-c", program], check=True)


@pytest.mark.parametrize(
    ("probability", "threshold", "close"),
    [
        (0.46, 0.5, True),
        (0.44, 0.5, False),
        (0.56, 0.5, False),
        (0.0, 0.0009, False),
        (0.00085, 0.0009, True),
        (0.999, 0.99, False),
    ],
)
def test_close_to_a_threshold_is_less_the_nearer_the_threshold_is_to_certainty(probability, threshold, close):
    content = sample.document(SHAPE)
    content["findings"][0].update(probability=probability, threshold=threshold)
    assert parse_result(json.dumps(content)).findings[0].close_to_threshold is close


@pytest.mark.parametrize(
    ("probability", "text"), [(0.873, "87 %"), (0.996, "> 99 %"), (0.99, "99 %"), (0.004, "< 1 %"), (0.01, "1 %")]
)
def test_a_percentage_never_claims_certainty(probability: float, text: str):
    assert percent(probability) == text
