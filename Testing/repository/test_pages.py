"""Pages of the repository: their paths and links hold, citation and workflows are valid, the site needs no network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path.name for path in ROOT.glob("*.md"))
# What runs and readers make; it is in no clone.
LIBRARY = "ICHDiagnosis/ICHDiagnosisLib"
MADE_LATER = {"build/site", "result.json"}


def named_paths(text: str) -> set[str]:
    """Return what a page names between backticks as a path: it has a folder, or an ending that files here have."""
    words = re.findall(r"`([^`\s]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    endings = (".py", ".json", ".md", ".toml", ".yml", ".txt", ".cff", ".j2", ".css")
    paths = {word.partition("#")[0].rstrip("/") for word in words if "/" in word or word.endswith(endings)}
    return {path for path in paths if not re.search(r"[<>*@=$:]|^\.venv/", path)}


def exists(path: str) -> bool:
    """Return whether a page's path exists, from the root or from one of the folders that hold the parts."""
    folders = (
        "",
        "monai_bundle",
        "monai_bundle/configs",
        "monai_bundle/scripts",
        "ICHDiagnosis/ICHDiagnosisLib",
        "Testing",
    )
    return path in MADE_LATER or any((ROOT / folder / path).exists() for folder in folders)


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md", "RELEASING.md", "SECURITY.md"])
def test_every_path_that_a_page_names_exists(page: str):
    paths = named_paths((ROOT / page).read_text(encoding="utf-8"))
    assert paths
    assert not sorted(path for path in paths if not exists(path))


def test_a_path_that_does_not_exist_is_found():
    text = "`scripts/labels.py`, `nowhere/file.py`, `absent.md`, `function`, `<id>/a.html`\n```\n`no/path.py`\n```\n"
    assert named_paths(text) == {"scripts/labels.py", "nowhere/file.py", "absent.md"}
    assert [path for path in sorted(named_paths(text)) if not exists(path)] == ["absent.md", "nowhere/file.py"]


def test_the_example_of_a_backbone_is_the_one_that_is_tested():
    example = (ROOT / "Testing" / "bundle" / "resnet18_backbone.py").read_text(encoding="utf-8")
    assert f"```python\n{example}```\n" in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_to_a_file(page: str):
    targets = re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text(encoding="utf-8"))
    assert not [target for target in targets if "://" not in target and not (ROOT / target).exists()]


def test_the_citation_is_valid_and_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    check_schema("citation-file-format", ROOT / "CITATION.cff")


def workflows() -> list[Path]:
    return sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_the_hosted_workflows_are_valid():
    assert workflows()
    check_schema("github-workflows", *workflows())


def test_the_hosted_workflows_use_tagged_actions_and_targets_that_exist():
    text = "\n".join(path.read_text(encoding="utf-8") for path in workflows())
    actions = re.findall(r"uses: (\S+)", text)
    targets = re.findall(r"run: make (\w+)", text)
    assert actions
    assert all(re.search(r"@v\d+(\.\d+)*$", action) for action in actions)
    assert set(targets) == {"lint", "test", "docs"} <= set(make_targets())


def make_targets() -> list[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return re.findall(r"^([\w-]+):(?!=)", text, flags=re.MULTILINE)


def test_make_help_lists_every_target():
    run = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.findall(r"^  make ([\w-]+)", run.stdout, flags=re.MULTILINE) == make_targets()
    assert set(
        re.findall(r"^\.PHONY:(.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[0].split()
    ) == set(make_targets())


def check_schema(name: str, *files: Path) -> None:
    """Check YAML files against a schema that check-jsonschema brings along."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{name}", *map(str, files)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def loaded_files(html: str) -> set[str]:
    """Return what a browser fetches by itself to show a page: scripts, styles, images, frames."""
    tags = re.findall(r"<(?:script|img|iframe|source|link)\b[^>]*>", html)
    # A link that only states a relation is not fetched.
    shown = [tag for tag in tags if not re.search(r"rel=\"?(canonical|prev|next)\b", tag)]
    return {url for tag in shown for url in re.findall(r"\b(?:src|href)=\"([^\"]*)\"", tag)}


def test_what_a_page_loads_is_found():
    html = '<link rel="prev" href="a.html"><link rel="stylesheet" href="b.css"><script src="//c/d.js"></script>'
    assert loaded_files(html) == {"b.css", "//c/d.js"}


def test_the_site_builds_without_a_broken_link_and_loads_nothing_from_elsewhere(tmp_path: Path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    run = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert {"index.html", "ARCHITECTURE.html"} <= {page.name for page in pages}
    for page in pages:
        parts = [urlsplit(url) for url in loaded_files(page.read_text(encoding="utf-8"))]
        assert not [part.geturl() for part in parts if part.scheme not in ("", "data") or part.netloc], page
        local = [page.parent / unquote(part.path) for part in parts if not part.scheme and page.name != "404.html"]
        assert not [str(path) for path in local if not path.exists()], page
