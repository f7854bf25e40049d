"""Gathers the documentation site's pages from where they lie in the repository: their links hold in both places."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[2]
# One page of the API reference each: what other code may build on.
PACKAGES = {
    "The bundle": ("monai_bundle", "scripts"),
    "Research": ("monai_bundle", "research"),
    "The Slicer module": ("ICHDiagnosis", "ICHDiagnosisLib"),
}
LINK = re.compile(r"""\]\(\s*<?([^)\s>#]+)|<img[^>]+src="([^"#]+)""")


def markdown_pages(root: Path = ROOT) -> list[Path]:
    """Return the pages written by hand: those of the root and those of the bundle."""
    return sorted([*root.glob("*.md"), *(root / "monai_bundle" / "docs").glob("**/*.md")])


def linked_files(pages: Iterable[Path], root: Path = ROOT) -> set[Path]:
    """Return the files of the repository that the pages link to and that are no pages themselves."""
    found = set()
    for page in pages:
        for match in LINK.finditer(page.read_text(encoding="utf-8")):
            target = (page.parent / (match[1] or match[2])).resolve()
            if target.is_file() and target.suffix != ".md" and target.is_relative_to(root):
                found.add(target)
    return found


def reference_pages(root: Path = ROOT) -> dict[str, dict[str, str]]:
    """Return the API reference: section -> page -> its Markdown, one page per package or module below the top."""
    reference = {}
    for section, (folder, package) in PACKAGES.items():
        places = sorted((root / folder / package).iterdir())
        names = [place.stem for place in places if (place / "__init__.py").is_file() or place.suffix == ".py"]
        modules = [f"{package}.{name}" for name in names if not name.startswith("_")]
        reference[section] = {module: f"# {module}\n\n::: {module}\n" for module in modules}
    return reference


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Append the API reference to the navigation."""
    sections = {section: [f"api/{module}.md" for module in pages] for section, pages in reference_pages().items()}
    config.nav = [*(config.nav or []), {"API reference": [{section: pages} for section, pages in sections.items()]}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, what they link to, and the API reference, each at its path in the repository."""
    pages = markdown_pages()
    for path in [*pages, *sorted(linked_files(pages))]:
        uri = path.relative_to(ROOT).as_posix()
        # The bundle's own copy for the model zoo is reached by links.
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    for section in reference_pages().values():
        for module, text in section.items():
            files.append(File.generated(config, f"api/{module}.md", content=text, inclusion=InclusionLevel.INCLUDED))
    return files
