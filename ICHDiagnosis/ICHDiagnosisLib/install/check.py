"""Check the installation: versions, device, and the weights of every system, with a list of problems.

Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ..bundle.command import BundleMissingError
from ..bundle.location import bundle_identity
from ..messages import MessageError, message
from .child_answer import ChildFailedError, answer_of
from .installed_packages import THIS_PYTHON, InstalledPackages, canonical
from .requirements import MissingPackage, Requirement, find_missing, read_requirements
from .weights_check import SystemWeights, WeightsQueryError, query_weights

_DEVICE_SECONDS = 120.0
_ANSWER = "ICHDIAGNOSIS-DEVICE "
# Run in a child: importing torch takes seconds, and must never happen inside the application.
_QUESTION = f"""
import json, torch
name, memory = "cpu", 0.0
if torch.cuda.is_available():
    name, memory = torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory / 1e9
elif getattr(torch.backends, "mps", None) and torch.backends.mps.is_available():
    name = "Apple GPU"
print({_ANSWER!r} + json.dumps({{"torch": torch.__version__, "name": name, "memory": memory}}))
"""


class DeviceQueryError(MessageError):
    """Torch could not be asked about the device."""


class WeightsState(Enum):
    """What is true of one file of weights."""

    INTACT = "intact"
    MISSING = "missing"
    WRONG_HASH = "wrong hash"

    def label(self) -> str:
        """Return the text for the user."""
        return {
            WeightsState.INTACT: message("weights.intact"),
            WeightsState.MISSING: message("weights.missing"),
            WeightsState.WRONG_HASH: message("weights.wrong_hash"),
        }[self]


@dataclass(frozen=True)
class Device:
    """The device that the bundle would use.

    Attributes
    ----------
    name : str
        Its name for people.
    memory_gigabytes : float
        Memory of a graphics card (GB); 0 where unknown.
    torch_version : str
        Version of the torch that was asked.
    """

    name: str
    memory_gigabytes: float
    torch_version: str


@dataclass(frozen=True)
class WeightsFile:
    """One file of weights against the hash in the bundle's metadata."""

    name: str
    state: WeightsState
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
    device : Device or None
        None where torch could not be asked.
    weights : tuple of WeightsFile
        Each file against its hash.
    problems : tuple of str
        One sentence per problem; empty where all is well.
    repairs : tuple of MissingPackage
        What an installation would mend: packages that are missing or damaged, and a torch that cannot be imported.
    systems : tuple of SystemWeights
        Each installed system, its weights loaded; empty where torch could not be asked.
    """

    bundle_version: str | None
    versions: dict[str, str | None]
    device: Device | None
    weights: tuple[WeightsFile, ...]
    problems: tuple[str, ...]
    repairs: tuple[MissingPackage, ...] = ()
    systems: tuple[SystemWeights, ...] = ()


def check_installation(
    bundle_root: Path,
    python: Path,
    environment: Mapping[str, str] | None = None,
    requirements: Sequence[Requirement] | None = None,
    packages: InstalledPackages = THIS_PYTHON,
) -> InstallationCheck:
    """Check everything the bundle needs; takes seconds per system, for torch is started in child processes.

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
        What is installed.

    Returns
    -------
    InstallationCheck
        Never an exception for what is missing or broken: that is what it reports.
    """
    requirements = read_requirements() if requirements is None else requirements
    installed = packages.versions()
    repairs = find_missing(requirements, packages)
    problems = [package.description for package in repairs]
    device: Device | None = None
    version: str | None = None
    weights: tuple[WeightsFile, ...] = ()
    try:
        device = query_device(python, os.environ if environment is None else environment)
    except DeviceQueryError as error:
        problems.append(str(error))
        repairs += _unusable_torch(requirements, repairs, installed, str(error))
    try:
        identity = bundle_identity(bundle_root)
        version = identity.version
        weights = tuple(check_weights_file(bundle_root, *file) for file in identity.weights_sha256.items())
    except BundleMissingError as error:
        problems.append(str(error))
    told = {file.name for file in weights if file.state is not WeightsState.INTACT}
    problems += [f"{file.name}: {file.state.label()}" for file in weights if file.name in told]
    systems: tuple[SystemWeights, ...] = ()
    if device is not None and version is not None:
        try:
            systems = query_weights(python, bundle_root, os.environ if environment is None else environment)
        except WeightsQueryError as error:
            problems.append(str(error))
        problems += [system.describe() for system in systems if system.fault and system.file not in told]
    versions = {requirement.name: installed.get(canonical(requirement.name)) for requirement in requirements}
    return InstallationCheck(version, versions, device, weights, tuple(problems), repairs, systems)


def _unusable_torch(
    requirements: Sequence[Requirement], repairs: Sequence[MissingPackage], installed: Mapping[str, str], fault: str
) -> tuple[MissingPackage, ...]:
    """Return torch where its metadata are there, nothing of it is known to be missing, and yet it does not answer."""
    known = {package.requirement.name for package in repairs}
    return tuple(
        MissingPackage(requirement, installed["torch"], fault)
        for requirement in requirements
        if requirement.name == "torch" and "torch" in installed and "torch" not in known
    )


def check_weights_file(bundle_root: Path, name: str, expected_sha256: str) -> WeightsFile:
    """Compare one file of weights with its hash."""
    digest = hashlib.sha256()
    try:
        with (bundle_root / name).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except FileNotFoundError:
        return WeightsFile(name, WeightsState.MISSING, None)
    found = digest.hexdigest()
    state = WeightsState.INTACT if found == expected_sha256 else WeightsState.WRONG_HASH
    return WeightsFile(name, state, found)


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
        If Python does not start, torch cannot be imported or ends Python, or no answer comes in time.
    """
    try:
        # -P: a torch.py in the current folder is not torch. -I would take away what finds Slicer's own packages.
        answer = json.loads(answer_of(python, ["-P", "-c", _QUESTION], environment, _ANSWER, seconds)[-1])
    except ChildFailedError as failure:
        if failure.timed_out:
            raise DeviceQueryError("device.no_answer", seconds=seconds) from failure
        if failure.status is None:
            raise DeviceQueryError("device.no_python", error=failure.reason) from failure
        if failure.crashed:
            raise DeviceQueryError("device.crashed", status=failure.status) from failure
        raise DeviceQueryError("device.error", error=failure.reason or message("device.no_message")) from failure
    return Device(answer["name"], float(answer["memory"]), answer["torch"])
