"""What every file and the first page must look like, and which statements of versions must agree."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "monai_bundle"
TESTING = ROOT / "Testing"
MOST_LINES = 350
# What tools and runs leave in the tree; .gitignore keeps it out of the repository.
LEFT_BY_RUNS = {ROOT / name for name in ("build", "cache", "htmlcov", "output", "runs")}
LEFT_BY_RUNS |= {BUNDLE / name for name in ("cache", "eval", "output", "runs")}


def our_files(folder: Path = ROOT, suffix: str = "") -> Iterator[Path]:
    """Walk the tree without what tools and runs left in it."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith((".", "__")) and path not in LEFT_BY_RUNS:
            yield from our_files(path, suffix)
        elif path.is_file() and path.name.endswith(suffix):
            yield path


def test_every_python_file_says_what_it_is_for():
    files = [path for path in our_files(suffix=".py") if path.read_text(encoding="utf-8").strip()]
    assert len(files) > 10
    assert not [str(path.relative_to(ROOT)) for path in files if not ast.get_docstring(ast.parse(path.read_bytes()))]


def test_no_python_file_is_longer_than_one_idea():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in our_files(suffix=".py")}
    assert not {str(path.relative_to(ROOT)): count for path, count in lengths.items() if count > MOST_LINES}


CLOCKS = {
    "monotonic",
    "monotonic_ns",
    "perf_counter",
    "perf_counter_ns",
    "process_time",
    "thread_time",
    "time",
    "time_ns",
}


def reads_a_clock(node: ast.AST, measured: frozenset[str] = frozenset()) -> bool:
    """Return whether an expression asks a clock of the module ``time``, or uses a name that holds a measured time."""
    for part in ast.walk(node):
        match part:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="time"), attr=clock)) if clock in CLOCKS:
                return True
            case ast.Call(func=ast.Name(id=clock)) if clock in CLOCKS - {"time"}:
                return True
            case ast.Name(id=name) if name in measured:
                return True
    return False


def timed_assertions(source: str) -> list[int]:
    """Return the lines of a test file whose assertion depends on how long something took.

    The assertion that gives up in a loop that waits is none: it ends what would hang.
    """
    lines, tree = set(), ast.parse(source)
    waiting = {part for loop in ast.walk(tree) if isinstance(loop, ast.While) for part in ast.walk(loop)}
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        measured = {
            name.id
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and reads_a_clock(node.value)
            for name in ast.walk(node)
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        }
        asserts = {node for node in ast.walk(function) if isinstance(node, ast.Assert)} - waiting
        lines |= {node.lineno for node in asserts if reads_a_clock(node.test, frozenset(measured))}
    return sorted(lines)


def test_a_timed_assertion_is_found():
    timed = "def test_a():\n    begin = time.monotonic()\n    end = perf_counter()\n    assert end - begin < 2\n"
    direct = "def test_b():\n    assert time.time() < 5\n"
    waiting = "def wait():\n    end = time.monotonic() + 9\n    while poll():\n        assert time.monotonic() < end\n"
    assert timed_assertions(timed + direct + waiting) == [4, 6]


def test_no_test_measures_time():
    found = {
        str(path.relative_to(ROOT)): timed_assertions(path.read_text("utf-8")) for path in our_files(TESTING, ".py")
    }
    assert not {path: lines for path, lines in found.items() if lines}


def test_lines_end_the_unix_way():
    texts = {path: path.read_bytes() for path in our_files()}
    assert not [str(path.relative_to(ROOT)) for path, raw in texts.items() if b"\0" not in raw and b"\r\n" in raw]


def test_the_bundle_carries_the_same_complete_licence():
    licence = (ROOT / "LICENSE.txt").read_text(encoding="utf-8")
    assert (BUNDLE / "LICENSE").read_text(encoding="utf-8") == licence
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def test_the_readme_sets_up_with_two_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.search(r"^## Set-up\n(.*?)(?=^## )", readme, re.MULTILINE | re.DOTALL)
    assert section is not None
    blocks = re.findall(r"^```\w*\n(.*?)^```", section.group(1), re.MULTILINE | re.DOTALL)
    commands = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    assert commands == ["make demo", "make test"]


def test_the_readme_points_only_at_files_that_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)", readme) if "://" not in target]
    assert targets
    assert not [target for target in targets if not (ROOT / target).exists()]


def test_project_bundle_and_changelog_agree_on_the_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["version"] == version
    assert version in metadata["changelog"]
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_every_pinned_package_is_locked_at_the_same_version():
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    lock = (ROOT / "setup" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    locked = {re.sub(r"[-_.]+", "-", line).lower() for line in lock if not line.startswith("#")}
    pins = {re.sub(r"[-_.]+", "-", pin).lower() for group in groups.values() for pin in group if isinstance(pin, str)}
    assert len(pins) > 20
    assert pins <= locked


def test_no_list_of_packages_names_one_twice():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups, extras = pyproject["dependency-groups"], pyproject["project"]["optional-dependencies"]
    locked = (ROOT / "setup" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    debian = (ROOT / "setup" / "debian-packages.sh").read_text(encoding="utf-8")
    lists = [
        [name_of(line) for group in groups.values() for line in group if isinstance(line, str)],
        [name_of(line) for extra in extras.values() for line in extra if not line.startswith("ichdiagnosis[")],
        [name_of(line) for line in locked if not line.startswith("#")],
        re.findall(r"^ +([a-z][a-z0-9.+-]+) +# ", debian, re.MULTILINE),
    ]
    assert all(len(names) > 10 for names in lists)
    assert [name for names in lists for name, count in Counter(names).items() if count > 1] == []


def name_of(requirement: str) -> str:
    """Return the normalised name of a Python package from a line that asks for it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=;\[ ]", requirement)[0]).lower()


def test_the_bundle_names_the_versions_that_it_was_tested_with():
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    pins = {pin for group in groups.values() for pin in group if isinstance(pin, str)}
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    named = {f"{package}=={version}" for package, version in metadata["required_packages_version"].items()}
    named |= {
        f"{package}=={metadata[f'{key}_version']}"
        for package, key in {"torch": "pytorch", "monai": "monai", "numpy": "numpy"}.items()
    }
    assert named <= pins
