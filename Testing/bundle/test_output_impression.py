"""The impression states the findings in one sentence, with the certainty and the caution that they call for."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.diagnosis import Finding, Lesions, LesionVolume
from scripts.labels import CQ500, RSNA
from scripts.output.impression import impression, is_close, millilitres, percent


def findings(probabilities: dict[str, float], labels=RSNA, threshold: float = 0.5) -> tuple[Finding, ...]:
    return tuple(Finding(label, probabilities.get(label.key, 0.02), threshold) for label in labels)


@pytest.mark.parametrize(
    ("probabilities", "text", "certainty", "code"),
    [
        (
            {"any": 0.93, "subdural": 0.87, "epidural": 0.61},
            "Intracranial haemorrhage likely: subdural (87 %), epidural (61 %)",
            "positive",
            "haemorrhage_likely",
        ),
        (
            {"any": 0.8},
            "Intracranial haemorrhage likely (80 %), no single type stands out",
            "positive",
            "haemorrhage_likely_no_type",
        ),
        (
            {"any": 0.52},
            "Intracranial haemorrhage possible (52 %), no single type stands out",
            "borderline",
            "haemorrhage_possible_no_type",
        ),
        (
            {"any": 0.3, "subdural": 0.7},
            "Intracranial haemorrhage possible: subdural (70 %); contradictory, “any haemorrhage” stays below its "
            "operating point (30 %)",
            "borderline",
            "contradictory",
        ),
        ({"any": 0.12}, "No haemorrhage found above the operating point", "negative", "no_haemorrhage"),
        (
            {"any": 0.47},
            "No haemorrhage found above the operating point, but close to it: any intracranial (47 %)",
            "borderline",
            "close_to_threshold",
        ),
    ],
)
def test_the_sentence_follows_the_findings(probabilities, text, certainty, code):
    stated = impression(findings(probabilities))
    assert (stated.text, stated.certainty, stated.code) == (text, certainty, code)


@pytest.mark.parametrize(
    ("probability", "caution"),
    [
        (0.9, "A model's estimate, not a diagnosis: read the key slices yourself."),
        (0.5, "Too close to call, or contradictory: it could as well have gone the other way."),
        (0.1, "This does not exclude haemorrhage: small or thin bleeds can be missed."),
    ],
)
def test_each_certainty_has_its_caution(probability, caution):
    assert impression(findings({"any": probability})).caution == caution


def test_a_low_probability_above_a_low_threshold_is_possible_not_likely():
    assert impression(findings({"any": 0.3}, threshold=0.1)).text.startswith("Intracranial haemorrhage possible")


@pytest.mark.parametrize("probability", [0.0, 0.0001])
def test_a_negative_scan_under_a_tiny_threshold_is_plainly_negative(probability):
    stated = impression(findings(dict.fromkeys((label.key for label in RSNA), probability), threshold=0.0009))
    assert (stated.text, stated.certainty) == ("No haemorrhage found above the operating point", "negative")


@pytest.mark.parametrize(
    ("probability", "threshold", "close"),
    [
        (0.46, 0.5, True),
        (0.44, 0.5, False),
        (0.54, 0.5, True),
        (0.56, 0.5, False),
        (0.00085, 0.0009, True),
        (0.0012, 0.0009, False),
        (0.9995, 0.9995, True),
        (0.99, 0.9995, False),
    ],
)
def test_close_is_measured_by_the_distance_from_the_threshold_to_0_or_1(probability, threshold, close):
    assert is_close(Finding(RSNA[0], probability, threshold)) is close


def test_a_fracture_without_haemorrhage_is_stated_and_is_no_haemorrhage():
    stated = impression(findings({"calvarial_fracture": 0.9}, CQ500))
    assert stated.text == (
        "No haemorrhage found above the operating point. Also above the operating point: calvarial fracture (90 %)"
    )
    assert (stated.certainty, stated.code) == ("positive", "other_findings")


@pytest.mark.parametrize(
    ("probability", "text"), [(1.0, "> 99 %"), (0.0, "< 1 %"), (0.999, "> 99 %"), (0.874, "87 %"), (0.01, "1 %")]
)
def test_a_percentage_never_claims_certainty(probability, text):
    assert percent(probability) == text


def lesions(*volumes: LesionVolume, spacing_assumed: bool = False) -> Lesions:
    nothing = np.zeros((1, 1, 1), np.uint8)
    return Lesions(nothing, nothing, 0.5, 0.2, 0.9, volumes, spacing_assumed)


LIKELY = "Intracranial haemorrhage likely: intraparenchymal (91 %)"


@pytest.mark.parametrize(
    ("stated", "text"),
    [
        (
            lesions(LesionVolume("total", 28.2, 19.4, 41.0), LesionVolume("parenchymal", 28.2)),
            f"{LIKELY}; about 28 ml (19 to 41), parenchymal",
        ),
        (
            lesions(
                LesionVolume("total", 30.6, 20.0, 44.7),
                LesionVolume("parenchymal", 28.2),
                LesionVolume("ventricular", 2.44),
            ),
            f"{LIKELY}; about 31 ml (20 to 45): parenchymal 28 ml, ventricular 2.4 ml",
        ),
        (lesions(LesionVolume("total", 0.4)), f"{LIKELY}; about 0.40 ml"),
        (
            lesions(LesionVolume("total", 3.0), LesionVolume("extra_axial", 3.0), spacing_assumed=True),
            f"{LIKELY}; about 3.0 ml, size of the voxels assumed, extra-axial",
        ),
        (lesions(), LIKELY),
        (None, LIKELY),
    ],
)
def test_a_positive_sentence_states_volume_limits_and_compartments(stated, text):
    found = impression(findings({"any": 0.95, "intraparenchymal": 0.91}), lesions=stated)
    assert (found.text, found.code) == (text, "haemorrhage_likely")


def test_a_negative_sentence_claims_no_volume():
    stated = lesions(LesionVolume("total", 28.2, 19.4, 41.0), LesionVolume("parenchymal", 28.2))
    for probabilities in ({"any": 0.12}, {"any": 0.47}):
        assert impression(findings(probabilities), lesions=stated) == impression(findings(probabilities))
    fracture = findings({"calvarial_fracture": 0.9}, CQ500)
    assert impression(fracture, lesions=stated) == impression(fracture)


@pytest.mark.parametrize(
    ("ml", "text"), [(128.4, "128"), (9.96, "10"), (9.94, "9.9"), (1.0, "1.0"), (0.996, "1.0"), (0.2, "0.20")]
)
def test_a_volume_has_no_more_digits_than_it_is_worth(ml, text):
    assert millilitres(ml) == text
