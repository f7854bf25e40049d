"""The report in a real browser: nothing broken, nothing fetched, nothing run, and printable."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from chromium import opened_browser, requested
from sample_diagnosis import (
    MODEL,
    NEGATIVE,
    a_diagnosis,
    a_refusal,
    a_study,
    an_affine,
    with_lesions,
    with_slice_labels,
)
from selenium import webdriver
from selenium.webdriver.common.by import By

from scripts.intake.study import Provenance, QualityWarning
from scripts.labels import RSNA
from scripts.messages import Message, message
from scripts.output.impression import millilitres
from scripts.output.report import render_refusal_report, render_report
from scripts.volume_calibration import VolumeBand, VolumeCalibration

HOSTILE = "<script>window.hacked = 1</script><img src='x' onerror='window.hacked = 2'>\"'&"
WARNING = QualityWarning("gantry_tilt", degrees=18)
DEFAULT_THRESHOLD = message("report.default_threshold")


@cache
def report_of(*, negative: bool = False) -> str:
    """Render the report of the sample study once: tests of the page share it."""
    return render_report(with_slice_labels(a_diagnosis(probabilities=NEGATIVE if negative else None)))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    chrome = opened_browser(tmp_path_factory.mktemp("chromium"))
    yield chrome
    chrome.quit()


@pytest.fixture
def show(browser: webdriver.Chrome, tmp_path: Path):
    def opened(html: str, width: int = 1280, dark: bool = False) -> webdriver.Chrome:
        path = tmp_path / "report.html"
        path.write_text(html, encoding="utf-8")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.get("about:blank")
        browser.get_log("performance")
        browser.get_log("browser")
        browser.get(path.as_uri())
        return browser

    return opened


def pages_printed(browser: webdriver.Chrome) -> int:
    paper = {"paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": True, "printBackground": False}
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", paper)["data"])
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("probabilities", "images"), [(None, 2 + 3 + 1 + 5 * 2 + 3), (NEGATIVE, 5)])
def test_it_opens_from_disk_without_error_request_or_broken_image(show, probabilities, images, dark):
    diagnosis = with_lesions(a_diagnosis(a_study(warnings=(WARNING,)), probabilities))
    browser = show(render_report(diagnosis), dark=dark)
    urls = requested(browser)
    assert [url for url in urls if url.startswith("file:")] == [browser.current_url]
    assert not [url[:80] for url in urls if not url.startswith(("file:", "data:"))]
    assert not browser.get_log("browser")
    widths = browser.execute_async_script(
        "const done = arguments[0], images = [...document.images];"
        "Promise.all(images.map(image => image.decode())).then(() => done(images.map(image => image.naturalWidth)))"
    )
    assert len(widths) == 2 + images + 12
    assert min(widths) > 100


def test_its_sections_have_headings_and_its_images_a_text(show):
    browser = show(render_report(a_diagnosis(a_study(warnings=(WARNING,)))))
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en-GB"
    (impression,) = browser.find_elements(By.TAG_NAME, "h1")
    assert impression.text.replace("\u00a0", " ") == (
        "Intracranial haemorrhage likely: subdural (87 %), intraparenchymal (56 %)"
    )
    first, *others = [heading.text for heading in browser.find_elements(By.TAG_NAME, "h2")]
    assert first == "Image quality"
    assert others[:3] == ["Findings", "Slice attention", "Key slices"]
    assert others[4:] == ["All input slices", "Technical details"]
    assert re.fullmatch(r"Attribution maps, slice \d+", others[3])
    assert all(len(image.get_attribute("alt")) > 5 for image in browser.find_elements(By.TAG_NAME, "img"))
    assert message("report.notice") in browser.find_element(By.CLASS_NAME, "masthead").text


def test_the_findings_table_names_what_is_positive(show):
    rows = show(report_of()).find_elements(By.CSS_SELECTOR, ".findings tbody tr")
    stated = {row.find_element(By.TAG_NAME, "th").text: row.find_element(By.CLASS_NAME, "badge").text for row in rows}
    positive = {"Any intracranial haemorrhage", "Intraparenchymal haemorrhage", "Subdural haemorrhage"}
    assert stated == {label.name: "▲ Positive" if label.name in positive else "Negative" for label in RSNA}


@pytest.mark.parametrize(
    ("mirrored", "words"), [(True, message("report.both_sides")), (False, "from one side, as they are")]
)
def test_the_run_s_table_states_from_how_many_sides_slices_were_read(show, mirrored: bool, words: str):
    browser = show(render_report(replace(a_diagnosis(), mirrored_views=mirrored)))
    cells = {
        row.find_element(By.TAG_NAME, "th").get_attribute("textContent"): row.find_element(By.TAG_NAME, "td")
        for row in browser.find_elements(By.CSS_SELECTOR, "tr")
        if row.find_elements(By.TAG_NAME, "td") and row.find_elements(By.TAG_NAME, "th")
    }
    assert cells[message("report.views")].get_attribute("textContent") == words


def test_a_default_threshold_has_a_star_and_a_sentence(show):
    diagnosis = a_diagnosis()
    assert DEFAULT_THRESHOLD not in report_of()
    findings = tuple(replace(finding, default_threshold=finding.label.key != "any") for finding in diagnosis.findings)
    browser = show(render_report(replace(diagnosis, findings=findings)))
    rows = [row.text for row in browser.find_elements(By.CSS_SELECTOR, ".findings tbody tr")]
    assert ["*" in row for row in rows] == [label.key != "any" for label in RSNA]
    assert f"* {DEFAULT_THRESHOLD}" in browser.find_element(By.ID, "findings").text


def test_the_threshold_mark_stands_where_the_threshold_is(show):
    diagnosis = a_diagnosis()
    findings = tuple(replace(finding, threshold=0.25) for finding in diagnosis.findings)
    browser = show(render_report(replace(diagnosis, findings=findings)))
    track, tick = (browser.find_element(By.CSS_SELECTOR, f".bar .{part}").rect for part in ("track", "tick"))
    assert tick["x"] + tick["width"] / 2 - track["x"] == pytest.approx(track["width"] / 4, abs=2)


def test_key_slices_are_identified_by_number_position_and_rank(show):
    diagnosis = a_diagnosis()
    first = next(entry for entry in diagnosis.slices if entry.key_rank == 1)
    browser = show(report_of())
    captions = [caption.text for caption in browser.find_elements(By.CSS_SELECTOR, ".key figcaption")]
    assert len(captions) == 5
    assert f"Slice {first.index + 1}" in captions[0]
    assert f"{first.position_mm:.1f} mm".replace("-", "−") in captions[0]
    framed = browser.find_elements(By.CSS_SELECTOR, ".tile.is-key")
    assert sorted(tile.find_element(By.CLASS_NAME, "rank").text for tile in framed) == ["1", "2", "3", "4", "5"]


def test_key_slices_state_the_network_s_output_for_the_slice_alone(show):
    browser = show(report_of())
    first, *_, last = [caption.text for caption in browser.find_elements(By.CSS_SELECTOR, ".key figcaption")]
    assert "this slice: any haemorrhage 97 %, subdural 87 %" in first.replace("\u00a0", " ")
    assert "any haemorrhage" not in last
    assert "no finding by itself" in browser.find_element(By.ID, "key-slices").text


def test_the_plot_of_attention_has_the_slices_outputs_below_it(show):
    browser = show(report_of())
    for image in browser.find_elements(By.CLASS_NAME, "histogram"):
        assert "the largest is 97 %, on slice 6" in image.get_attribute("alt")
    assert message("report.slice_output_caption") in browser.find_element(By.ID, "attention").text
    without = show(render_report(a_diagnosis())).find_element(By.TAG_NAME, "body").text
    assert "this slice" not in without.lower()
    assert "Lower plot" not in without


def test_the_report_of_a_negative_study_draws_no_map_and_claims_no_volume(show):
    browser = show(render_report(with_lesions(a_diagnosis(probabilities=NEGATIVE))))
    text = browser.find_element(By.TAG_NAME, "body").text
    assert "No haemorrhage found above the operating point" in text
    assert "does not exclude haemorrhage" in text
    assert "No attribution map is drawn" in text
    assert "▲" not in text
    assert not browser.find_elements(By.ID, "lesions")
    assert not browser.find_elements(By.ID, "labels")


def test_maps_of_a_negative_study_that_were_asked_for_come_with_a_warning(show):
    diagnosis = replace(a_diagnosis(probabilities=NEGATIVE), draw_negative_maps=True)
    text = show(render_report(diagnosis)).find_element(By.TAG_NAME, "body").text
    assert "Bright does not mean positive" in text


def test_lesions_come_first_with_their_volumes_and_limits(show):
    calibration = VolumeCalibration(0.9, {"total": (VolumeBand(0.0, 0.5, 2.0, 20),)})
    diagnosis = with_lesions(a_diagnosis(), calibration)
    browser = show(render_report(diagnosis))
    assert browser.find_element(By.TAG_NAME, "h2").text == "Lesions: place and volume"
    volume = millilitres(diagnosis.lesions.volumes[0].ml)
    assert f"about {volume} ml" in browser.find_element(By.TAG_NAME, "h1").text.replace("\u00a0", " ")
    rows = [row.text for row in browser.find_elements(By.CSS_SELECTOR, ".volumes tbody tr")]
    limits = " to ".join(millilitres(factor * diagnosis.lesions.volumes[0].ml) for factor in (0.5, 2.0))
    assert rows == [f"Total {volume} ml {limits} ml", f"Extra-axial (epidural, subdural) {volume} ml not measured"]
    lead = browser.find_element(By.CSS_SELECTOR, "#lesions .slice img")
    assert lead.rect["width"] > 400
    assert lead.rect["y"] < 450


def test_a_positive_study_without_a_lesion_says_so(show):
    diagnosis = with_lesions(a_diagnosis())
    lesions = replace(diagnosis.lesions, volumes=(), subtypes=np.zeros_like(diagnosis.lesions.subtypes))
    section = show(render_report(replace(diagnosis, lesions=lesions))).find_element(By.ID, "lesions")
    assert "No voxel reaches the lesion threshold of 50 %" in section.text
    assert not section.find_elements(By.TAG_NAME, "img")


def test_a_scale_that_is_fixed_is_stated_with_the_largest_value_of_the_scan(show):
    diagnosis = a_diagnosis()
    fixed = tuple(replace(entry, scale=8.0, fixed_scale=True, largest=1.3) for entry in diagnosis.maps)
    text = show(render_report(replace(diagnosis, maps=fixed))).find_element(By.TAG_NAME, "body").text
    assert "is 8 logits in every scan; the largest value in this one, for or against the label, is 1.3" in text
    assert "All maps have one scale" in text
    assert "Each map has its own scale" in report_of()


def test_names_from_files_stay_text(show):
    provenance = Provenance(HOSTILE, "dicom", kernel=HOSTILE, series_choice=(Message("series.chosen", series=HOSTILE),))
    study = a_study(warnings=(QualityWarning("bone_kernel", kernel=HOSTILE),), provenance=provenance)
    model = replace(MODEL, name=HOSTILE, trained_on=HOSTILE, weights_sha256={HOSTILE: "a" * 64})
    diagnosis = replace(a_diagnosis(study, study_id=HOSTILE), model=model, operating_point=HOSTILE, device=HOSTILE)
    reason = Message("intake.within", place=HOSTILE, message=HOSTILE)
    hostile_refusal = replace(a_refusal(), study_id=HOSTILE, code=HOSTILE, reason=reason, model=model)
    for html in (render_report(diagnosis), render_refusal_report(hostile_refusal)):
        browser = show(html)
        assert browser.execute_script("return window.hacked === undefined")
        assert browser.execute_script("return document.scripts.length") == 0
        assert not browser.find_elements(By.CSS_SELECTOR, "img[src='x']")
        assert browser.find_element(By.TAG_NAME, "body").text.count("<script>window.hacked = 1</script>") > 3
        assert not browser.get_log("browser")


def test_a_script_that_slips_in_would_be_stopped_by_the_page_s_own_policy(show):
    html = report_of().replace("</main>", "<script>window.hacked = 1</script></main>")
    assert show(html).execute_script("return window.hacked === undefined")


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_sticks_out_at_any_width(show, width):
    provenance = Provenance("a_long_name_without_any_space_" * 6, "dicom", series_uid="1.2.840." * 8)
    browser = show(render_report(with_slice_labels(a_diagnosis(a_study(provenance=provenance)))), width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_the_impression_stands_first_with_its_caution(show):
    section = show(report_of(negative=True)).find_element(By.CLASS_NAME, "impression").text
    _, heading, sentence, caution, *_ = section.replace("\u00a0", " ").splitlines()
    assert (heading.lower(), sentence) == ("impression", "No haemorrhage found above the operating point")
    assert caution == message("impression.caution_negative")


def test_it_prints_on_a_few_pages(show):
    browser = show(render_report(with_slice_labels(a_diagnosis(a_study((36, 64, 64), warnings=(WARNING,))))))
    assert 2 <= pages_printed(browser) <= 4


@pytest.mark.parametrize(("medium", "shown"), [("screen", "on-dark"), ("print", "on-light")])
def test_paper_is_light_even_when_the_screen_is_dark(show, medium, shown):
    browser = show(report_of(), dark=True)
    scheme = {"name": "prefers-color-scheme", "value": "dark"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium, "features": [scheme]})
    histograms = browser.find_elements(By.CLASS_NAME, "histogram")
    visible = [image.get_attribute("class") for image in histograms if image.is_displayed()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert visible == [f"histogram {shown}"]


def test_a_refusal_says_why_and_what_to_do(show):
    browser = show(render_refusal_report(a_refusal()))
    assert browser.find_element(By.TAG_NAME, "h1").text == "Not evaluable: 7 slices, at least 12 needed"
    assert [heading.text for heading in browser.find_elements(By.TAG_NAME, "h2")] == ["What to do", "Technical details"]
    assert not browser.find_elements(By.TAG_NAME, "img")
    assert not browser.get_log("browser")
    assert pages_printed(browser) == 1


def test_a_run_without_maps_or_key_slices_still_reports(show):
    diagnosis = a_diagnosis()
    slices = tuple(replace(entry, key_rank=None) for entry in diagnosis.slices)
    browser = show(render_report(replace(diagnosis, slices=slices, maps=diagnosis.maps[:1])))
    text = browser.find_element(By.TAG_NAME, "body").text
    assert "This run made no attribution maps." in text
    assert "The network chose no key slice." in text


def test_the_report_of_a_study_of_full_size_stays_small():
    diagnosis = a_diagnosis(a_study((36, 512, 512), an_affine(spacing_mm=(0.45, 0.45, 5.0))))
    assert len(render_report(diagnosis)) < 4e6
