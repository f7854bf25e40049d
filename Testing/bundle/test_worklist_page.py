"""The worklist's page in a real browser: order, filter, export, links, keyboard, ten thousand lines, and no request."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from chromium import opened_browser, requested
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait
from worklist_cases import HOSTILE_REASON, an_entry, write_results

from scripts.messages import message
from scripts.output.folder import write_whole_file
from scripts.worklist.page import render_worklist, worklist_rows, write_worklist
from scripts.worklist.urgency import by_urgency

ORDER = ["subdural", "likely without volume", "=seven slices", "killed three workers", "größer & negative"]
MANY = 10_000


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    chrome = opened_browser(tmp_path_factory.mktemp("chromium"))
    yield chrome
    chrome.quit()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    write_results(root)
    write_worklist(root)
    return root


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("many")
    rows = worklist_rows(by_urgency([an_entry(number, thumbnail=True) for number in range(MANY)]))
    write_whole_file(root / "worklist.html", render_worklist(rows, MANY).encode())
    return root


def show(browser: webdriver.Chrome, root: Path, dark: bool = False) -> webdriver.Chrome:
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get("about:blank")
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get((root / "worklist.html").as_uri())
    return browser


def studies(browser: webdriver.Chrome) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll('#worklist tbody th')].map(cell => cell.firstChild.textContent)"
    )


def head_of(browser: webdriver.Chrome, key: str):
    return browser.find_element(By.CSS_SELECTOR, f"#worklist button[data-key={key}]")


def ranks(browser: webdriver.Chrome) -> list[int]:
    return browser.execute_script(
        "return [...document.querySelectorAll('#worklist tbody tr')].map(row => Number(row.firstChild.textContent))"
    )


def search(browser: webdriver.Chrome, text: str) -> None:
    field = browser.find_element(By.ID, "search")
    field.clear()
    field.send_keys(text)


@pytest.mark.parametrize("dark", [False, True])
def test_it_opens_from_disk_without_error_and_asks_for_nothing_but_its_images(browser, results, dark):
    page = show(browser, results, dark)
    WebDriverWait(page, 30).until(
        lambda page: page.execute_script("return [...document.images].every(i => i.complete)")
    )
    assert min(page.execute_script("return [...document.images].map(image => image.naturalWidth)")) > 100
    asked = [url for url in requested(page) if not url.startswith("data:")]
    assert {unquote(Path(url).parent.name + "/" + Path(url).name) for url in asked} == {
        f"{results.name}/worklist.html",
        "subdural/thumbnail.jpg",
        "likely without volume/thumbnail.jpg",
        "größer & negative/thumbnail.jpg",
    }
    assert all(url.startswith(results.as_uri()) for url in asked)
    assert not page.get_log("browser")
    ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(15, 20, 25)" if dark else "rgb(244, 246, 248)")


def test_it_lists_all_by_urgency_with_reason_and_states_its_rule(browser, results):
    page = show(browser, results)
    assert studies(page) == ORDER
    text = page.find_element(By.TAG_NAME, "body").text
    assert message("report.notice") in text
    assert message("worklist.rule") in text
    reasons = [cell.text for cell in page.find_elements(By.CSS_SELECTOR, ".unread .text")]
    assert "7 slices" in reasons[0]
    assert reasons[1] == HOSTILE_REASON
    assert page.execute_script("return window.hacked") is None


def test_each_link_leads_to_the_report_of_its_study(browser, results):
    links = [link.get_attribute("href") for link in show(browser, results).find_elements(By.CSS_SELECTOR, "tbody a")]
    assert len(links) == 4
    for link in links:
        browser.get(link)
        assert message("report.notice") in browser.find_element(By.CLASS_NAME, "masthead").text


def test_columns_sort_both_ways_and_what_has_no_value_stands_last(browser, results):
    page = show(browser, results)
    head_of(page, "probability").click()
    assert studies(page)[2] == "größer & negative"
    assert {*studies(page)[3:]} == {"=seven slices", "killed three workers"}
    head_of(page, "probability").click()
    assert studies(page)[0] == "größer & negative"
    assert {*studies(page)[3:]} == {"=seven slices", "killed three workers"}
    sorted_by = page.find_elements(By.CSS_SELECTOR, "th[aria-sort]")
    assert [heading.get_attribute("aria-sort") for heading in sorted_by] == ["ascending"]
    head_of(page, "study_id").click()
    assert studies(page) == [
        "=seven slices",
        "größer & negative",
        "killed three workers",
        "likely without volume",
        "subdural",
    ]
    head_of(page, "rank").click()
    assert studies(page) == ORDER


def test_search_and_groups_narrow_the_table_and_the_count_says_so(browser, results):
    page = show(browser, results)
    search(page, "LIKELY subdural")
    assert studies(page) == ["subdural", "likely without volume"]
    assert page.find_element(By.ID, "count").text == "2 of 5 studies"
    search(page, "nowhere")
    assert page.find_element(By.ID, "count").text == message("worklist.no_match")
    search(page, Keys.BACKSPACE)
    search(page, "slices")
    page.find_element(By.CSS_SELECTOR, "input[value=unread]").click()
    assert studies(page) == []


def test_the_export_is_the_table_beside_the_page_and_follows_the_filter(browser, results):
    page = show(browser, results)
    assert saved(page) == (results / "worklist.csv").read_bytes()
    search(page, "slices")
    table = list(csv.DictReader(io.StringIO(saved(page).decode("utf-8-sig"), newline="")))
    assert [row["study_id"] for row in table] == ["'=seven slices"]


def saved(browser: webdriver.Chrome) -> bytes:
    folder = Path(browser.capabilities["chrome"]["userDataDir"]) / "downloads"
    folder.mkdir(exist_ok=True)
    before = set(folder.glob("*.csv"))
    browser.find_element(By.ID, "export").click()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        new = [file for file in set(folder.glob("*.csv")) - before if file.stat().st_size]
        if new and not list(folder.glob("*.crdownload")):
            return new[0].read_bytes()
        time.sleep(0.05)
    raise AssertionError("no file came")


def test_everything_is_reached_by_keyboard(browser, results):
    page = show(browser, results)
    page.find_element(By.ID, "search").send_keys("slices")
    assert studies(page) == ["=seven slices"]
    reached = []
    for _ in range(20):
        webdriver.ActionChains(page).send_keys(Keys.TAB).perform()
        active = page.switch_to.active_element
        reached.append(active.get_attribute("id") or active.get_attribute("value") or active.get_attribute("data-key"))
        if active.tag_name == "a":
            break
    assert page.switch_to.active_element.text == "=seven slices"
    assert {"likely", "unread", "export", "rank", "study_id", "probability", "volume_ml"} <= set(reached)
    page.find_element(By.ID, "search").clear()
    page.execute_script("document.getElementById('search').dispatchEvent(new Event('input'))")
    head_of(page, "volume_ml").send_keys(Keys.ENTER)
    assert studies(page)[0] == "subdural"


def test_of_ten_thousand_lines_only_one_page_is_drawn_and_only_its_images_are_fetched(browser, many):
    page = show(browser, many)
    assert page.find_element(By.ID, "count").text == "10000 of 10000 studies"
    assert len(studies(page)) == 50
    assert ranks(page) == list(range(1, 51))
    head_of(page, "study_id").click()
    head_of(page, "study_id").click()
    assert studies(page)[:2] == ["study-09999", "study-09998"]
    page.find_element(By.ID, "next").click()
    assert studies(page)[0] == "study-09949"
    search(page, "study-00042")
    assert studies(page) == ["study-00042"]
    assert len([url for url in requested(page) if url.endswith("thumbnail.jpg")]) < 300
    assert not [entry for entry in page.get_log("browser") if "ERR_FILE_NOT_FOUND" not in entry["message"]]


def test_at_both_ends_no_page_can_be_turned(browser, many):
    page = show(browser, many)
    assert not page.find_element(By.ID, "previous").is_enabled()
    search(page, "study-0004")
    assert not page.find_element(By.ID, "next").is_enabled()
