"""Images of failures: the worst are selected, and drawn small, with every contour and text that a page needs."""

from __future__ import annotations

import io
import math
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from numpy.typing import NDArray
from phantom_cases import SMALL
from PIL import Image

from research.evidence.failure_images import (
    MOST_BYTES,
    Failure,
    FailureMaps,
    draw_failure,
    worst_failures,
    write_failure,
)
from scripts.intake.head import head_mask
from scripts.intake.study import CTStudy, Provenance
from scripts.phantom import Haemorrhage, make_phantom

SOURCE = "CT-ICH, CC BY 4.0"
FALSE_NEGATIVE = Failure(index=0, name="052", probability=0.12, truth=True)
FALSE_POSITIVE = Failure(index=1, name="061", probability=0.93, truth=False)


@pytest.fixture(scope="module")
def maps() -> FailureMaps:
    phantom = make_phantom(SMALL, [Haemorrhage("subdural")])
    mask = phantom.masks["subdural"]
    keys = tuple(int(index) for index in np.argsort(-mask.sum(axis=(1, 2)), kind="stable")[:3])
    values = np.zeros(mask.shape, dtype=np.uint8)
    values[keys[0], 30:50, 30:50] = 255
    return FailureMaps(phantom.study, head_mask(phantom.voxels, phantom.study.spacing_mm), values, keys, mask)


def pixels_of(image: bytes) -> NDArray[np.int64]:
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB")).astype(np.int64)


def near(image: bytes, colour: tuple[int, int, int]) -> int:
    """Count pixels of the image's upper part, without the text, near a colour."""
    pixels = pixels_of(image)[44:-62]
    return int((np.abs(pixels - np.array(colour)).max(axis=-1) < 60).sum())


def text_on(failure: Failure, maps: FailureMaps, label: str = "Subdural haemorrhage", source: str = SOURCE) -> str:
    with mock.patch.object(Figure, "text", autospec=True, side_effect=Figure.text) as written:
        draw_failure(failure, maps, label, source)
    return "\n".join(call.args[3] for call in written.call_args_list)


ORANGE, CYAN = (255, 154, 31), (53, 208, 224)


def test_the_worst_are_those_farthest_from_the_truth():
    probabilities = np.array([0.4, 0.1, 0.9, 0.6, 0.99, 0.2, 0.3])
    truth = np.array([1, 1, 1, 0, 0, 0, math.nan])
    false_negatives, false_positives = worst_failures(probabilities, truth, list("abcdefg"), threshold=0.5)
    assert [failure.name for failure in false_negatives] == ["b", "a"]
    assert [failure.name for failure in false_positives] == ["e", "d"]
    assert (false_negatives[0].index, false_negatives[0].probability, false_negatives[0].truth) == (1, 0.1, True)
    assert [failure.kind for failure in (false_negatives[0], false_positives[0])] == [
        "false negative",
        "false positive",
    ]
    assert worst_failures(probabilities, truth, list("abcdefg"), 0.05, count=1)[0] == ()
    assert len(worst_failures(probabilities, truth, list("abcdefg"), 0.5, count=1)[1]) == 1


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 1.0, math.nan])), max_size=20), st.integers(0, 5))
def test_no_failure_left_out_is_worse_than_one_selected(scans: list[tuple[float, float]], count: int):
    probabilities, truth = np.array(scans).reshape(-1, 2).T
    names = [str(index) for index in range(len(scans))]
    for value, selected in zip((1, 0), worst_failures(probabilities, truth, names, 0.5, count), strict=True):
        wrong = (truth == value) & ((probabilities >= 0.5) != bool(value))
        assert len(selected) == min(count, int(wrong.sum()))
        distances = sorted(np.abs(probabilities - truth)[wrong], reverse=True)[:count]
        assert [abs(failure.probability - value) for failure in selected] == distances


def test_an_image_shows_slices_and_both_contours_and_stays_small(maps: FailureMaps):
    image = draw_failure(FALSE_NEGATIVE, maps, "Subdural haemorrhage", SOURCE)
    assert len(image) <= MOST_BYTES
    assert near(image, ORANGE) > 50
    assert near(image, CYAN) > 50
    assert image == draw_failure(FALSE_NEGATIVE, maps, "Subdural haemorrhage", SOURCE)
    without = FailureMaps(maps.study, maps.head, np.zeros_like(maps.attribution_map), maps.key_slices)
    plain = draw_failure(FALSE_NEGATIVE, without, "Subdural haemorrhage", SOURCE)
    assert near(plain, ORANGE) == near(plain, CYAN) == 0
    # The skull is white in the brain window.
    assert near(plain, (255, 255, 255)) > 500


def test_the_slices_are_as_many_as_asked_for(maps: FailureMaps):
    widths = [pixels_of(draw_failure(FALSE_NEGATIVE, maps, "x", SOURCE, most)).shape[1] for most in (2, 3, 9)]
    assert widths[0] < widths[1] == widths[2]


def test_the_image_of_a_noisy_scan_is_small_enough():
    shape = (4, 512, 512)
    noise = np.random.default_rng(0).integers(0, 80, shape).astype(np.int16)
    study = CTStudy(noise, np.diag([0.5, 0.5, 5.0, 1.0]), np.arange(4) * 5.0, Provenance("noise", "phantom"))
    values = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    maps = FailureMaps(study, np.ones(shape, dtype=bool), values, (0, 1, 2, 3), values > 200)
    assert len(draw_failure(FALSE_POSITIVE, maps, "Epidural haemorrhage", SOURCE)) <= MOST_BYTES


def test_the_text_names_kind_label_probability_purpose_and_source(maps: FailureMaps):
    words = text_on(FALSE_NEGATIVE, maps)
    assert "False negative: Subdural haemorrhage, probability 12 %, scan 052" in words
    assert "Research use only" in words
    assert SOURCE in words
    assert "≥ 50 % of the scan's largest: evidence, not anatomy" in words
    assert "False positive: Subdural haemorrhage, probability 93 %, scan 061" in text_on(FALSE_POSITIVE, maps)
    with pytest.raises(ValueError, match="source and licence"):
        draw_failure(FALSE_NEGATIVE, maps, "Subdural haemorrhage", " ")


def test_the_text_states_what_is_not_visible(maps: FailureMaps):
    study, head, keys = maps.study, maps.head, maps.key_slices
    dark, nothing, elsewhere = (np.zeros_like(maps.attribution_map) for _ in range(3))
    elsewhere[min(set(range(len(dark))) - set(keys)), 40, 40] = 1
    unknown = text_on(FALSE_POSITIVE, FailureMaps(study, head, dark, keys))
    assert "not reached on these slices" in unknown
    assert "Haemorrhage is not annotated" in unknown
    assert "none in this scan" in text_on(FALSE_POSITIVE, FailureMaps(study, head, dark, keys, nothing.astype(bool)))
    assert "on other slices only" in text_on(
        FALSE_POSITIVE, FailureMaps(study, head, dark, keys, elsewhere.astype(bool))
    )


def test_a_written_image_comes_with_its_caption(tmp_path: Path, maps: FailureMaps):
    written = write_failure(tmp_path, FALSE_POSITIVE, maps, ("subdural", "Subdural haemorrhage"), SOURCE)
    assert written.file == "false_positive_subdural_061.png"
    assert Image.open(tmp_path / written.file).format == "PNG"
    assert written.caption == f"False positive: Subdural haemorrhage, probability 93 %, scan 061. {SOURCE}"


def test_maps_that_do_not_fit_are_refused(maps: FailureMaps):
    study, head, values = maps.study, maps.head, maps.attribution_map
    with pytest.raises(ValueError, match="must have the study's shape"):
        FailureMaps(study, head[:2], values, (0,))
    with pytest.raises(ValueError, match="must be uint8"):
        FailureMaps(study, head, values.astype(np.float32), (0,))
    for keys in ((), (99,)):
        with pytest.raises(ValueError, match="key slices"):
            FailureMaps(study, head, values, keys)
