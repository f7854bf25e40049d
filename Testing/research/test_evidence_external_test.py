"""External test: studies are read by the bundle in its own process, and compared with what is known of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from research.evidence.external_test import ExternalStudy, external_studies, read_study

BUNDLE = Path(__file__).resolve().parents[2] / "monai_bundle"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the shared data's: one series with labelled slices, here a phantom's."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(BUNDLE)
        command = [sys.executable, "-m", "scripts.phantom", "--format", "dicom", "--output", str(folder / "phantom")]
        subprocess.run([*command, "--haemorrhage", "subdural", "--pixels", "128"], check=True, capture_output=True)
    (folder / "phantom" / "ct").rename(folder / "rsna-series-iph-ivh")
    (folder / "labels").mkdir()
    rows = ["ID,Label"]
    for number, path in enumerate(sorted((folder / "rsna-series-iph-ivh").iterdir())):
        rows += [f"{path.stem}_any,{number % 2}", f"{path.stem}_subdural,1"]
    (folder / "labels" / "rsna_series_iph_ivh.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def in_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BUNDLE)


@pytest.fixture(scope="module")
def studies(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[ExternalStudy]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(BUNDLE)
        return external_studies(data, tmp_path_factory.mktemp("phantoms"), pixels=96)


def test_real_studies_come_first_and_three_phantoms_follow(studies: list[ExternalStudy]):
    assert [(study.name, study.positive) for study in studies] == [
        ("RSNA 2019, one series", True),
        ("phantom", False),
        ("phantom", True),
        ("phantom", True),
    ]
    files = sorted(path.stem for path in studies[0].folder.iterdir())
    assert studies[0].labelled_slices == tuple(files[1::2])
    assert all(any(study.folder.iterdir()) for study in studies)


@pytest.mark.usefixtures("in_bundle")
def test_a_study_is_read_as_a_user_reads_it_and_its_key_slices_compared_with_the_labels(
    studies: list[ExternalStudy], tmp_path: Path
):
    found = read_study(studies[0], tmp_path / "result", {"image_size": 64, "high_res_size": 96})
    assert (found["truth_positive"], found["study"]) == (True, "RSNA 2019, one series")
    assert set(found["findings"]) >= {"any", "subdural"}
    assert found["positive"] == (found["findings"]["any"] >= found["any_threshold"])
    result = json.loads(next((tmp_path / "result").glob("*/result.json")).read_text("utf-8"))
    # The phantom's files are numbered from its lowest slice, and every second one is labelled.
    keys = [entry["index"] for entry in result["slices"] if entry["key_rank"] is not None]
    assert found["key_slices_labelled_positive"] == f"{sum(index % 2 == 1 for index in keys)} of {len(keys)}"


@pytest.mark.usefixtures("in_bundle")
def test_a_study_that_is_not_evaluable_is_listed_with_its_reason(data: Path, tmp_path: Path):
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted((data / "rsna-series-iph-ivh").iterdir())[:5]:
        (few / path.name).write_bytes(path.read_bytes())
    found = read_study(ExternalStudy("few", "no haemorrhage", few, False), tmp_path / "result")
    assert found["findings"] is None
    assert found["note"].startswith("not evaluable: ")


@pytest.mark.usefixtures("in_bundle")
def test_a_study_that_ends_the_bundle_ends_the_evidence(tmp_path: Path):
    nowhere = ExternalStudy("nowhere", "no haemorrhage", tmp_path / "nowhere", False)
    with pytest.raises(RuntimeError, match="nowhere: the bundle ended with"):
        read_study(nowhere, tmp_path / "result")
