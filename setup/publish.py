"""Put the repository's real address everywhere, and check the rules of Slicer's Extensions Index.

    python setup/publish.py                                             # check alone
    python setup/publish.py https://github.com/somebody/SlicerICHDiagnosis    # put this address everywhere, then check

``scm_url`` in ``ICHDiagnosis.json`` is the one place that holds the address; every other file is rewritten from it.
What needs the network (the topic ``3d-slicer-extension``, whether the images can be fetched) is listed at the end, to
be checked by hand. The rules are those of ``scripts/check_description_files.py`` and of the pull request's list there.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTENSION = "ICHDiagnosis"
BRANCH = "main"
LIMIT_MEGABYTES = 60
"""Of a shallow clone, work tree and ``.git`` together; the Index refuses 100."""
BY_HAND = (
    "the repository has the topic 3d-slicer-extension",
    "icon and screenshots can be fetched from their addresses",
    "unused features of the repository (Wiki, Projects, Discussions) are switched off",
    "contributors are named as 'Name (Organisation)' where there are any to name",
)
_SCHEMA = "slicer-extension-catalog-entry-schema-v1.0.2.json#"
_KEYS = {"$schema", "category", "scm_url", "scm_revision", "scm_type", "build_dependencies", "build_subdirectory"}
_KEYS |= {"enabled", "tier", "dicom_support_rule"}


def stated_address(root: Path) -> str:
    """Return the repository's address without ``.git``, from the one place that holds it."""
    entry = json.loads((root / f"{EXTENSION}.json").read_text(encoding="utf-8"))
    return str(entry["scm_url"]).removesuffix(".git")


def put_address(root: Path, address: str) -> list[str]:
    """Write another address wherever the present one stands.

    Parameters
    ----------
    root : Path
        Folder of the repository.
    address : str
        ``https://github.com/<owner>/<name>``.

    Returns
    -------
    list of str
        Files that were changed.

    Raises
    ------
    ValueError
        If it is no such address.
    """
    address = address.rstrip("/").removesuffix(".git")
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address):
        raise ValueError(f"{address!r} is not of the form https://github.com/<owner>/<name>")
    before, after = (each.removeprefix("https://github.com/") for each in (stated_address(root), address))
    changed = []
    for name in _git(root, "ls-files").splitlines():
        path = root / name
        content = path.read_bytes() if path.is_file() else b""
        replaced = re.sub(rf"{re.escape(before)}(?![\w-])".encode(), after.encode(), content)
        if replaced != content:
            path.write_bytes(replaced)
            changed.append(name)
    return changed


def faults(root: Path) -> list[str]:
    """Check every rule of the Index that needs no network; return one sentence per fault."""
    entry = json.loads((root / f"{EXTENSION}.json").read_text(encoding="utf-8"))
    cmake = (root / "CMakeLists.txt").read_text(encoding="utf-8")
    stated = dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"\n]+)"\)$', cmake, re.MULTILINE))
    return [
        *_faults_of_entry(root, entry),
        *_faults_of_cmake(root, entry, cmake, stated),
        *_faults_of_pages(root, stated),
    ]


def _faults_of_entry(root: Path, entry: dict[str, object]) -> list[str]:
    found = []
    if not {"$schema", "category", "scm_url"} <= set(entry) <= _KEYS or not str(entry["$schema"]).endswith(_SCHEMA):
        found.append(f"{EXTENSION}.json does not follow schema 1.0.2")
    if b"\r" in (root / f"{EXTENSION}.json").read_bytes():
        found.append(f"{EXTENSION}.json has line endings other than LF")
    name = stated_address(root).rpartition("/")[2]
    if not re.fullmatch(r"Slicer(Extension)?[-_]?\w+", name):
        found.append(f"the repository's name {name} does not begin with Slicer")
    if entry.get("scm_revision") != "":
        # Slicer's build stops where the key is missing and reads empty as origin/main; the Index then clones shallow.
        found.append(f"scm_revision of {EXTENSION}.json must be there and empty")
    return found


def _faults_of_cmake(root: Path, entry: dict[str, object], cmake: str, stated: dict[str, str]) -> list[str]:
    found = []
    project = re.search(r"project\s*\(\s*([^\s)]+)", cmake)
    if project is None or project[1] != EXTENSION or EXTENSION.lower().startswith("slicer"):
        found.append("the project of CMakeLists.txt is not named like the extension")
    missing = {"HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"} - set(stated)
    if missing:
        return [*found, f"CMakeLists.txt lacks {', '.join(sorted(missing))}"]
    if stated["DEPENDS"].split() != entry["build_dependencies"]:
        found.append("CMakeLists.txt and the catalogue entry name different dependencies")
    repository = stated_address(root).removeprefix("https://github.com/")
    raw = f"https://raw.githubusercontent.com/{repository}/{BRANCH}/"
    for address in [stated["ICONURL"], *stated["SCREENSHOTURLS"].split()]:
        if not address.startswith(raw) or not (root / address.removeprefix(raw)).is_file():
            found.append(f"no image lies where {address} points")
    if not stated["HOMEPAGE"].startswith(stated_address(root)):
        found.append("the homepage is not in the repository")
    if "non-commercial" not in stated["DESCRIPTION"] and _terms(root):
        found.append("the description does not state the terms of the weights")
    return found


def _faults_of_pages(root: Path, stated: dict[str, str]) -> list[str]:
    found = []
    readme = (root / "README.md").read_text(encoding="utf-8")
    if not (root / "LICENSE.txt").is_file() or "Apache-2.0" not in readme:
        found.append("LICENSE.txt is missing, or README.md does not name the licence")
    modules = [path.parent.name for path in root.glob("*/CMakeLists.txt")]
    section = readme.partition("\n## Modules\n")[2].partition("\n## ")[0]
    found += [
        f"README.md has no sentence for the module {name} under 'Modules'" for name in modules if name not in section
    ]
    if "![" not in readme:
        found.append("README.md shows no image")
    if "SCREENSHOTURLS" in stated and "test host" not in readme:
        found.append("README.md does not say what the screenshots were made in")
    return found


def _terms(root: Path) -> str:
    return str(json.loads((root / "monai_bundle/configs/metadata.json").read_text(encoding="utf-8")).get("terms") or "")


def shallow_clone_megabytes(root: Path) -> float:
    """Clone as the Index does, one commit deep, and add up all files, those of ``.git`` too (MB)."""
    with tempfile.TemporaryDirectory() as folder:
        # A plain path would be linked, history and all.
        _git(root, "clone", "--quiet", "--depth", "1", f"file://{root.resolve()}", f"{folder}/clone")
        return sum(path.lstat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 2**20


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; return how many rules are broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", nargs="?", help="the repository's real address")
    address = parser.parse_args(arguments).address
    if address is not None:
        for name in put_address(ROOT, address):
            print(f"changed: {name}")
    broken = faults(ROOT)
    size = shallow_clone_megabytes(ROOT)
    if size > LIMIT_MEGABYTES:
        broken.append(f"a shallow clone takes {size:.1f} MB, more than {LIMIT_MEGABYTES}")
    print(f"a shallow clone takes {size:.1f} MB")
    for fault in broken:
        print(f"fault: {fault}")
    for rule in BY_HAND:
        print(f"by hand: {rule}")
    return len(broken)


if __name__ == "__main__":
    sys.exit(main())
