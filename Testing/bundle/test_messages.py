"""The catalogue holds every text that the code shows, with the values that the code gives; other languages fit in."""

from __future__ import annotations

import ast
import json
import pickle
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from string import Formatter

import pytest
from jinja2 import Environment, nodes
from sample_diagnosis import a_diagnosis, a_refusal, a_study, an_affine

from scripts import messages
from scripts.intake.study import NotEvaluableError, Provenance, QualityWarning
from scripts.messages import ENGLISH, ExpectedError, Message, Translation, catalogue
from scripts.output.report import render_refusal_report, render_report
from scripts.output.result import refusal_document, result_document

BUNDLE = Path(messages.__file__).parents[2]
SOURCES = sorted([*(BUNDLE / "scripts").rglob("*.py"), *(BUNDLE / "research").rglob("*.py")])
TEMPLATES = sorted((BUNDLE / "scripts").rglob("*.j2"))
SECTIONS_OF = {
    "NotEvaluableError": "intake",
    "SynthesisError": "synthesis",
    "IntakeError": "intake",
    "QualityWarning": "quality",
    "DamagedFileError": "damage",
    "DicomOutputError": "dicom_output",
    "OutputError": "output",
    "OutputFolderError": "output",
}
"""Classes whose codes are names in one section; all others are given whole codes."""
TOY = "xx"


@dataclass(frozen=True)
class Use:
    """A place where a text is asked for; ``code`` may end in ``*``, ``values`` is None where they are not literal."""

    place: str
    code: str
    values: frozenset[str] | None


def is_code(text: str) -> bool:
    is_file = text.endswith((".html", ".html.j2", ".json"))
    return text.partition(".")[0] in sections() and re.fullmatch(r"\w+\.[\w.+]+", text) is not None and not is_file


def sections() -> set[str]:
    return {code.partition(".")[0] for code in catalogue()}


def literals(node: ast.expr) -> Iterator[str]:
    """List the texts that an expression can be; the computed end of an f-string is ``*``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from literals(node.body)
        yield from literals(node.orelse)
    elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
        yield f"{node.values[0].value!s}*"


def name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def uses_in(source: Path) -> Iterator[Use]:
    """Find every call with a code, and every code that is kept to be looked up later."""
    called: set[int] = set()
    tree = ast.parse(source.read_text("utf-8"))
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and node.args):
            continue
        section = SECTIONS_OF.get(name_of(node.func))
        for literal in literals(node.args[0]):
            code = f"{section}.{literal}" if section else literal
            if is_code(code.removesuffix("*") + "x" * code.endswith("*")):
                called.update(id(part) for part in ast.walk(node.args[0]))
                starred = any(keyword.arg is None for keyword in node.keywords)
                names = frozenset(keyword.arg for keyword in node.keywords if keyword.arg)
                yield Use(f"{source.name}:{node.lineno}", code, None if starred else names)
    for node in ast.walk(tree):
        # A code that is kept to be looked up later: its values are not seen here.
        if isinstance(node, ast.Constant) and node.value in catalogue() and id(node) not in called:
            yield Use(f"{source.name}:{node.lineno}", str(node.value), None)


def template_uses(template: Path) -> Iterator[Use]:
    tree = Environment().parse(template.read_text("utf-8"))
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name == "t":
            code = call.args[0]
            assert isinstance(code, nodes.Const), f"{template.name}:{call.lineno}: a code must be written out"
            yield Use(f"{template.name}:{call.lineno}", code.value, frozenset(value.key for value in call.kwargs))


def all_uses() -> list[Use]:
    found = [use for source in SOURCES for use in uses_in(source)]
    return found + [use for template in TEMPLATES for use in template_uses(template)]


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_every_code_that_is_used_is_in_the_catalogue_with_the_values_that_are_given():
    uses = all_uses()
    assert len(uses) > 200
    faults = []
    for use in uses:
        codes = (
            [code for code in catalogue() if code.startswith(use.code[:-1])] if use.code.endswith("*") else [use.code]
        )
        if not codes or any(code not in catalogue() for code in codes):
            faults.append(f"{use.place}: no text {use.code}")
            continue
        for code in codes:
            if use.values is not None and placeholders(catalogue()[code]) != use.values:
                faults.append(f"{use.place}: {code} needs {placeholders(catalogue()[code])}, not {set(use.values)}")
    assert not faults, "\n".join(faults)


def test_no_text_is_unused():
    uses = {use.code for use in all_uses()}
    prefixes = tuple(code[:-1] for code in uses if code.endswith("*"))
    unused = [code for code in catalogue() if code not in uses and not code.startswith(prefixes)]
    assert not unused


def test_the_check_finds_an_unknown_code_and_a_missing_value(tmp_path: Path):
    source = tmp_path / "faulty.py"
    source.write_text('NotEvaluableError("no_such")\nmessage("report.slice")\ntranslate(f"report.end_{letter}")\n')
    uses = list(uses_in(source))
    assert [(use.code, use.values) for use in uses] == [
        ("intake.no_such", frozenset()),
        ("report.slice", frozenset()),
        ("report.end_*", frozenset()),
    ]
    assert placeholders(catalogue()["report.slice"]) == {"number"}


@pytest.fixture
def toy_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A language whose every text is the English one, without its letters, between two marks."""
    english = json.loads((messages.CATALOGUES / f"{ENGLISH}.json").read_text("utf-8"))
    labels = {"label": dict.fromkeys(a_diagnosis().model.labels, "«·»")}
    texts = {section: {name: toy(text) for name, text in entries.items()} for section, entries in english.items()}
    for language, content in ((ENGLISH, english), (TOY, texts | labels | {"label_short": labels["label"]})):
        (tmp_path / f"{language}.json").write_text(json.dumps(content), "utf-8")
    monkeypatch.setattr(messages, "CATALOGUES", tmp_path)
    catalogue.cache_clear()
    yield TOY
    catalogue.cache_clear()


def check_translation(folder: Path, language: str) -> None:
    """Hold a language to the English texts: every code, with the same values."""
    of_its_own = json.loads((folder / f"{language}.json").read_text("utf-8"))
    codes = {f"{section}.{name}" for section, texts in of_its_own.items() for name in texts}
    assert {code for code in codes if not code.startswith(("label.", "label_short."))} == set(catalogue())
    for code, text in catalogue().items():
        assert placeholders(catalogue(language)[code]) == placeholders(text)


def test_every_language_of_the_bundle_has_every_text_with_the_same_values():
    languages = {file.stem for file in messages.CATALOGUES.glob("*.json")}
    assert ENGLISH in languages
    for language in languages:
        check_translation(messages.CATALOGUES, language)


def test_a_translation_that_lacks_a_text_shows_the_english_one(toy_language: str):
    check_translation(messages.CATALOGUES, toy_language)
    file = messages.CATALOGUES / f"{toy_language}.json"
    texts = json.loads(file.read_text("utf-8"))
    del texts["report"]["findings"]
    file.write_text(json.dumps(texts), "utf-8")
    catalogue.cache_clear()
    assert Translation(toy_language)("report.findings") == "Findings"
    with pytest.raises(AssertionError):
        check_translation(messages.CATALOGUES, toy_language)


def toy(text: str) -> str:
    """Replace each run of words by one sign; placeholders stay."""
    return "«" + re.sub(r"(\{[^}]*\})|[^\W\d_]+", lambda found: found[1] or "·", text) + "»"


class Words(HTMLParser):
    """Collects everything that a reader of the page can see or hear."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._skipped = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._skipped = tag == "style"
        self.texts += [value or "" for name, value in attrs if name in {"alt", "aria-label"}]

    def handle_endtag(self, tag: str) -> None:
        self._skipped = False

    def handle_data(self, data: str) -> None:
        if not self._skipped and data.strip():
            self.texts.append(data.strip())


def english_words(html: str, given: str) -> list[str]:
    """List the words on a page that are neither given by the study or the run nor units."""
    page = Words()
    page.feed(html)
    admitted = set(re.findall(r"[^\W\d_]{2,}", given)) | {"ICHDiagnosis", "mm", "DICOM", "NIfTI"}
    return [word for text in page.texts for word in re.findall(r"[^\W\d_]{2,}", text) if word not in admitted]


def test_a_report_in_another_language_holds_no_english(toy_language: str):
    warnings = (QualityWarning("gantry_tilt", degrees=18), QualityWarning("bone_kernel", kernel="H70h"))
    choice = (Message("series.chosen_because", series="S", reasons=(Message("series.because_no_contrast"),)),)
    provenance = Provenance("head", "nifti", kernel="H70h", series_choice=choice)
    diagnosis = a_diagnosis(a_study(warnings=warnings, provenance=provenance, affine=an_affine(tilt_degrees=18)))
    model, run = diagnosis.model, (diagnosis.operating_point, diagnosis.device, diagnosis.precision)
    digests = [digest[:12] for digest in model.weights_sha256.values()]
    given = f"{diagnosis.study_id} {provenance} LPS {model} {digests} {run} {list(diagnosis.seconds)}"
    html = render_report(diagnosis, toy_language)
    assert english_words(html, given) == []
    assert "Slice attention" not in html
    refusal = a_refusal()
    html = render_refusal_report(refusal, toy_language)
    assert english_words(html, f"{refusal.study_id} {refusal.code} {model} {digests}") == []
    assert english_words(render_report(diagnosis), given) != []


def test_a_result_in_another_language_keeps_its_codes(toy_language: str):
    translated, english = (result_document(a_diagnosis(), language) for language in (toy_language, ENGLISH))
    assert translated["impression"]["text"].startswith("«")
    assert translated["impression"]["code"] == english["impression"]["code"]
    assert refusal_document(a_refusal(), toy_language)["reason"] == {
        "code": "too_few_slices",
        "message": "«7 ·, · · 12 ·»",
    }


def test_a_language_without_texts_is_refused_by_name():
    with pytest.raises(ExpectedError, match=r"no texts in the language '\.\./en'; choose one of en"):
        Translation("../en")


def test_a_refusal_survives_a_worker_and_knows_its_place():
    refusal = NotEvaluableError("no_hounsfield_units.air", hounsfield=-200.4).within("7.dcm").within("head")
    again = pickle.loads(pickle.dumps(refusal))
    assert (type(again), again.code, again.message) == (NotEvaluableError, "no_hounsfield_units", refusal.message)
    assert (
        str(again) == "head: 7.dcm: the darkest voxels have -200 HU, air near -1000 HU needed; export without windowing"
    )
