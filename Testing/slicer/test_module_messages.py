"""Every text that users read has its code in one catalogue: none unknown, none unused, every placeholder filled."""

from __future__ import annotations

import ast
import importlib
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
import slicer

from ICHDiagnosisLib.installation_messages import INSTALLATION_CATALOGUE
from ICHDiagnosisLib.messages import CATALOGUE as OTHER_CATALOGUE
from ICHDiagnosisLib.messages import MessageError, message
from ICHDiagnosisLib.study_messages import STUDY_CATALOGUE

CATALOGUES = {"messages.py": OTHER_CATALOGUE, "installation_messages.py": INSTALLATION_CATALOGUE}
CATALOGUES["study_messages.py"] = STUDY_CATALOGUE
CATALOGUE = OTHER_CATALOGUE | INSTALLATION_CATALOGUE | STUDY_CATALOGUE

MODULE = Path(__file__).resolve().parents[2] / "ICHDiagnosis"
FILES = [path for path in sorted(MODULE.rglob("*.py")) if path.name not in CATALOGUES]
# Arguments of an error that are no placeholders of its message.
OTHER_ARGUMENTS = {"log"}


def every_subclass(cls: type) -> Iterator[type]:
    for subclass in cls.__subclasses__():
        yield subclass
        yield from every_subclass(subclass)


@pytest.fixture(scope="module")
def functions() -> set[str]:
    """Names of all that takes a code as its first argument."""
    for path in FILES:
        importlib.import_module(".".join(path.relative_to(MODULE).with_suffix("").parts).removesuffix(".__init__"))
    return {"message", *(cls.__name__ for cls in every_subclass(MessageError))}


def name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Name):
        return function.id
    return function.attr if isinstance(function, ast.Attribute) else ""


def uses(functions: set[str]) -> Iterator[tuple[str, str, ast.Call]]:
    """Yield place, code and call of every use of a message."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args:
                first = node.args[0]
                # An error hands the code of its message on to its base class.
                inherited = name_of(node.func) == "__init__" and isinstance(first, ast.Constant)
                if name_of(node.func) in functions or inherited:
                    place = f"{path.relative_to(MODULE)}:{node.lineno}"
                    codes = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
                    for code in codes:
                        if isinstance(code, ast.Constant):
                            yield place, str(code.value), node


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_code_that_is_used_exists(functions: set[str]):
    assert [f"{place}: {code}" for place, code, _ in uses(functions) if code not in CATALOGUE] == []


def test_no_code_is_unused(functions: set[str]):
    assert set(CATALOGUE) - {code for _, code, _ in uses(functions)} == set()


def test_placeholders_are_filled_as_the_text_has_them(functions: set[str]):
    wrong = []
    for place, code, call in uses(functions):
        given = {keyword.arg for keyword in call.keywords if keyword.arg} - OTHER_ARGUMENTS
        needed = placeholders(CATALOGUE[code])
        complete = any(keyword.arg is None for keyword in call.keywords) or given == needed
        if not (complete and given <= needed):
            wrong.append(f"{place}: {code} needs {sorted(needed)}, is given {sorted(given)}")
    assert wrong == []


@pytest.mark.parametrize("name", CATALOGUES)
def test_every_text_is_marked_as_slicers_tools_look_for_it(name: str):
    source = (MODULE / "ICHDiagnosisLib" / name).read_text(encoding="utf-8")
    # The pattern of Slicer's Utilities/Scripts/lupdate_preprocess.py, for texts in double quotes.
    marked = re.findall(r'[^_]_\((\s*?".+?"\s*?)\)', source.partition("CATALOGUE = {")[2], flags=re.DOTALL)
    assert [ast.literal_eval(f"({text})") for text in marked] == list(CATALOGUES[name].values())


def test_no_text_stands_twice_under_one_code():
    sources = [(MODULE / "ICHDiagnosisLib" / name).read_text(encoding="utf-8") for name in CATALOGUES]
    codes = re.findall(r'^    "([a-z_]+\.[a-z_]+)":', "".join(sources), flags=re.MULTILINE)
    assert len(codes) == len(set(codes)) == len(CATALOGUE)


def test_a_message_is_in_the_language_of_the_application(monkeypatch):
    monkeypatch.setattr(slicer.i18n, "tr", lambda text: text.replace("Slice {number}", "Schicht {number}"))
    assert message("slice.number", number=4) == "Schicht 4"
    monkeypatch.setattr(slicer.i18n, "tr", lambda text: text.replace("All is well.", "Alles gut."))
    assert message("check.no_problems") == "Alles gut."
    assert str(MessageError("ending.see_log")) == "The log has the details."


def test_an_error_keeps_its_code_and_values():
    error = MessageError("run.not_started", error="no such file")
    assert (error.code, error.values) == ("run.not_started", {"error": "no such file"})
    assert str(error) == "The analysis could not be started: no such file"


def test_a_code_or_a_value_that_is_missing_is_a_mistake_of_the_program():
    with pytest.raises(KeyError):
        message("no.such_code")
    with pytest.raises(KeyError):
        message("run.not_started")
