"""The bundle's command line and the environment of its process. Pure functions; standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..messages import MessageError

CONFIG_FILE = "configs/inference.json"
# A configuration value that begins so is code or a reference to MONAI (monai.bundle.ConfigParser), never plain text.
_MEANINGFUL_TO_MONAI = ("$", "@", "%")


class BundleMissingError(MessageError):
    """The bundle is not where the module expects it, or a file of it is missing or damaged."""


class UnsafeSettingError(MessageError):
    """A setting would be read by MONAI as code or as a reference."""


@dataclass(frozen=True)
class BundleRequest:
    """One run of the bundle.

    Attributes
    ----------
    python : str or Path
        Python program to run: PythonSlicer in the application (``interpreter.py`` finds what is behind it).
    bundle_root : Path
        Folder of the bundle (holds ``configs`` and ``models``).
    dataset_dir : Path
        Study to read: a DICOM folder, a file, or a folder of studies.
    output_dir : Path
        Folder in which the bundle makes one result folder per study.
    device : str or None
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``; None lets the bundle choose.
    operating_point : str or None
        Name of the operating point; None for the bundle's default.
    overrides : mapping of str to str
        Further keys of the configuration and their values.
    configuration : str or None
        File of the bundle that is laid over its inference configuration; None for that one alone.
    """

    python: str | Path
    bundle_root: Path
    dataset_dir: Path
    output_dir: Path
    device: str | None = None
    operating_point: str | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    configuration: str | None = None

    @property
    def log_file(self) -> Path:
        """File in which the run's log is kept."""
        return self.output_dir / "run.log"


def check_bundle(bundle_root: Path) -> None:
    """Refuse a folder that is no bundle, before anything is started.

    Raises
    ------
    BundleMissingError
        If the folder or its inference configuration is missing.
    """
    if not (bundle_root / CONFIG_FILE).is_file():
        raise BundleMissingError("bundle.no_configuration", file=bundle_root / CONFIG_FILE)


def build_command(request: BundleRequest) -> list[str]:
    """Build the command line as a list, so that no shell ever reads a path.

    Parameters
    ----------
    request : BundleRequest
        What to run.

    Returns
    -------
    list of str
        Program and arguments, every path absolute: the command runs in the bundle's folder.

    Raises
    ------
    UnsafeSettingError
        As :func:`bundle_arguments`.
    """
    return [str(request.python), "-m", "monai.bundle", *bundle_arguments(request)]


def bundle_arguments(request: BundleRequest) -> list[str]:
    """Build the arguments of ``python -m monai.bundle``.

    Raises
    ------
    UnsafeSettingError
        If a setting would be read by MONAI as code or as a reference.
    """
    settings = dict(request.overrides)
    if request.device is not None:
        settings["device"] = request.device
    if request.operating_point is not None:
        settings["operating_point"] = request.operating_point
    for key, value in settings.items():
        if value.startswith(_MEANINGFUL_TO_MONAI):
            raise UnsafeSettingError("bundle.unsafe_setting", key=key, character=value[0])
    settings = {
        "bundle_root": str(request.bundle_root.resolve()),
        "dataset_dir": str(request.dataset_dir.resolve()),
        "output_dir": str(request.output_dir.resolve()),
        **settings,
    }
    files = CONFIG_FILE if request.configuration is None else f"['{CONFIG_FILE}','{request.configuration}']"
    arguments = ["run", "--config_file", files]
    for key, value in settings.items():
        arguments += [f"--{key}", value]
    return arguments


def child_environment(base: Mapping[str, str]) -> dict[str, str]:
    """Build the environment of a child Python; the application's own environment stays as it is.

    Parameters
    ----------
    base : mapping of str to str
        Environment to start from, for example ``slicer.util.startupEnvironment()``.

    Returns
    -------
    dict of str to str
        ``base`` without any PYTHON* variable (PYTHONPATH or PYTHONHOME of another Python would break the child, and the
        PythonSlicer launcher sets its own), with UTF-8, unbuffered output and no packages from the user's home.
    """
    environment = {name: value for name, value in base.items() if not name.upper().startswith("PYTHON")}
    environment.update(PYTHONUTF8="1", PYTHONUNBUFFERED="1", PYTHONNOUSERSITE="1")
    return environment
