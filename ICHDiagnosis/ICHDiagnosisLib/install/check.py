"""Check the installation: versions, device and the weights' hashes, as facts and as a list of problems."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ..bundle.command import child_environment
from .installed_packages import THIS_PYTHON, InstalledPackages, canonical
from .requirements import MissingPackage, Requirement, find_missing, read_requirements

METADATA_FILE = "configs/metadata.json"
_DEVICE_SECONDS = 120.0
_ANSWER = "ICHDIAGNOSIS-DEVICE "
# Run in a child: importing torch takes seconds, and must never happen inside the application.
_QUESTION = f"""
import json, torch
name, memory = "cpu", 0.0
if torch.cuda.is_available():
    name, memory = torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory / 1e9
    kind = "cuda"
elif getattr(torch.backends, "mps", None) and torch.backends.mps.is_available():
    kind, name = "mps", "Apple GPU"
else:
    kind = "cpu"
print({_ANSWER!r} + json.dumps({{"torch": torch.__version__, "kind": kind, "name": name, "memory": memory}}))
"""


class DeviceQueryError(RuntimeError):
    """Torch could not be asked about the device."""


class WeightsState(Enum):
    """What is true of one file of weights."""

    INTACT = "intact"
    MISSING = "missing"
    WRONG_HASH = "wrong hash"


@dataclass(frozen=True)
class Device:
    """The device that the bundle would use.

    Attributes
    ----------
    kind : str
        ``"cuda"``, ``"mps"`` or ``"cpu"``.
    name : str
        Its name for people.
    memory_gigabytes : float
        Memory of a graphics card (GB); 0 where unknown.
    torch_version : str
        Version of the torch that was asked.
    """

    kind: str
    name: str
    memory_gigabytes: float
    torch_version: str


@dataclass(frozen=True)
class WeightsFile:
    """One file of weights against the hash in the bundle's metadata."""

    name: str
    state: WeightsState
    expected_sha256: str
    found_sha256: str | None


@dataclass(frozen=True)
class InstallationCheck:
    """Everything that "check installation" shows.

    Attributes
    ----------
    bundle_version : str or None
        From the bundle's metadata; None where it cannot be read.
    versions : dict
        Installed version (or None) of each requirement.
    missing : tuple of MissingPackage
        Requirements that are not met.
    device : Device or None
        None where torch could not be asked.
    weights : tuple of WeightsFile
        Each file against its hash.
    problems : tuple of str
        One sentence per problem; empty where all is well.
    """

    bundle_version: str | None
    versions: dict[str, str | None]
    missing: tuple[MissingPackage, ...]
    device: Device | None
    weights: tuple[WeightsFile, ...]
    problems: tuple[str, ...]


def check_installation(
    bundle_root: Path,
    python: Path,
    environment: Mapping[str, str] | None = None,
    requirements: Sequence[Requirement] | None = None,
    packages: InstalledPackages = THIS_PYTHON,
) -> InstallationCheck:
    """Look at everything the bundle needs; takes some seconds, for torch is started in a child process.

    Parameters
    ----------
    bundle_root : Path
        Folder of the bundle.
    python : Path
        Python that runs the bundle.
    environment : mapping of str to str, optional
        Environment to start from; this process's own otherwise.
    requirements : sequence of Requirement, optional
        What is needed; the module's own list otherwise.
    packages : InstalledPackages
        Where to look.

    Returns
    -------
    InstallationCheck
        Never an exception for what is missing or broken: that is what it reports.
    """
    requirements = read_requirements() if requirements is None else requirements
    installed = packages.versions()
    missing = find_missing(requirements, packages)
    problems = [package.description for package in missing]
    device: Device | None = None
    version: str | None = None
    weights: tuple[WeightsFile, ...] = ()
    try:
        device = query_device(python, os.environ if environment is None else environment)
    except DeviceQueryError as error:
        problems.append(str(error))
    try:
        version, hashes = read_weights_hashes(bundle_root)
        weights = tuple(check_weights_file(bundle_root, name, sha256) for name, sha256 in hashes.items())
    except ValueError as error:
        problems.append(str(error))
    problems += [f"{file.name}: {file.state.value}" for file in weights if file.state is not WeightsState.INTACT]
    versions = {requirement.name: installed.get(canonical(requirement.name)) for requirement in requirements}
    return InstallationCheck(version, versions, missing, device, weights, tuple(problems))


def read_weights_hashes(bundle_root: Path) -> tuple[str, dict[str, str]]:
    """Read the bundle's version and the hash of each of its weights files from ``configs/metadata.json``.

    Returns
    -------
    str
        Version of the bundle.
    dict of str to str
        Path inside the bundle to sha256 (lower-case hexadecimal).

    Raises
    ------
    ValueError
        If the file is missing, is no JSON, lists no weights, or names a file outside the bundle.
    """
    try:
        metadata = json.loads((bundle_root / METADATA_FILE).read_text(encoding="utf-8"))
        version, hashes = str(metadata["version"]), {str(k): str(v).lower() for k, v in metadata["weights"].items()}
    except OSError as error:
        raise ValueError(f"{METADATA_FILE} cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{METADATA_FILE} does not list the bundle's version and weights") from error
    for name in hashes:
        if not (bundle_root / name).resolve().is_relative_to(bundle_root.resolve()):
            raise ValueError(f"{METADATA_FILE} names a file outside the bundle: {name}")
    if not hashes:
        raise ValueError(f"{METADATA_FILE} lists no weights")
    return version, hashes


def check_weights_file(bundle_root: Path, name: str, expected_sha256: str) -> WeightsFile:
    """Compare one file of weights with its hash."""
    digest = hashlib.sha256()
    try:
        with (bundle_root / name).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except FileNotFoundError:
        return WeightsFile(name, WeightsState.MISSING, expected_sha256, None)
    found = digest.hexdigest()
    state = WeightsState.INTACT if found == expected_sha256 else WeightsState.WRONG_HASH
    return WeightsFile(name, state, expected_sha256, found)


def query_device(python: Path, environment: Mapping[str, str], seconds: float = _DEVICE_SECONDS) -> Device:
    """Ask torch, in a child process, which device it would use.

    Parameters
    ----------
    python : Path
        Python that runs the bundle.
    environment : mapping of str to str
        Environment to start from.
    seconds : float
        How long to wait (s).

    Raises
    ------
    DeviceQueryError
        If Python does not start, torch cannot be imported, or no answer comes in time.
    """
    try:
        child = subprocess.Popen(
            [str(python), "-c", _QUESTION],
            env=child_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as error:
        raise DeviceQueryError(f"Python could not be started: {error.strerror}") from error
    try:
        output, errors = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        _end(child)
        raise DeviceQueryError(f"Torch gave no answer within {seconds:g} s") from error
    answers = [line.removeprefix(_ANSWER) for line in output.splitlines() if line.startswith(_ANSWER)]
    if not answers:
        last = (errors.strip().splitlines() or ["no message"])[-1]
        raise DeviceQueryError(f"Torch could not be asked about the device: {last}")
    answer = json.loads(answers[-1])
    return Device(answer["kind"], answer["name"], float(answer["memory"]), answer["torch"])


def _end(child: subprocess.Popen[str]) -> None:
    """End a child that leads a session of its own, with the Python that the PythonSlicer launcher started for it."""
    if os.name == "nt":
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(child.pid)], capture_output=True, check=False)
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
