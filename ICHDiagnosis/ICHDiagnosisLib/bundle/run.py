"""One run of the bundle with its temporary input and its output folder. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from .command import BundleRequest
from .input_folder import TemporaryInputFolder, sweep_stale_input_folders
from .process import AlreadyRunningError, BundleRunner, RunUpdate
from .systems import SHIPPED, installed_system

WriteInput = Callable[[Path], Path]
"""Puts what is to be read into an empty folder, or nothing there; returns the path that the bundle reads."""

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]+')
_LONGEST_NAME = 80
_SHORTEST_NAME = 8
LONGEST_PATH = 259
"""Characters of a path that every Windows opens (MAX_PATH, 260, with its end)."""
# Below a run's folder: a result's folder (64 bytes and a number or hash, scripts/intake/study_id.py) and its files.
_BELOW_RUN = len("/") + 64 + 8 + len("/gradcam_intraparenchymal.nii.gz")
_DATE = " 2026-11-29 134500 (2)"


@dataclass(frozen=True)
class RunSettings:
    """What a run is asked to do.

    Attributes
    ----------
    output_folder : Path
        Folder in which each run makes a folder of its own.
    device : str or None
        ``"cpu"``, ``"cuda"``, ``"mps"``; None lets the bundle choose.
    operating_point : str
        Name of the operating point.
    explanation_method : str
        ``"gradcam"``, ``"gradcam++"`` or ``"slice_gradcam"``.
    use_original_files : bool
        Whether volumes from DICOM are read from their original files.
    overrides : mapping of str to str
        Further keys of the bundle's configuration.
    system : str
        Name of the system that reads; empty for the shipped one. Every other explains by a method of its own.
    """

    output_folder: Path
    device: str | None = None
    operating_point: str = "balanced"
    explanation_method: str = "slice_gradcam"
    use_original_files: bool = True
    overrides: Mapping[str, str] = field(default_factory=dict)
    system: str = SHIPPED


class BundleRun:
    """Prepares, starts, follows and clears up one run at a time.

    Parameters
    ----------
    runner : BundleRunner
        The child process.
    python : Path
        Python that runs the bundle.
    bundle_root : Path
        Folder of the bundle.
    temporary_folder : Path, optional
        Where temporary inputs are made; the system's temporary folder otherwise.
    """

    def __init__(
        self, runner: BundleRunner, python: Path, bundle_root: Path, temporary_folder: Path | None = None
    ) -> None:
        self.bundle_root = bundle_root
        self._runner = runner
        self._python = python
        self._temporary_folder = temporary_folder
        self._input: TemporaryInputFolder | None = None
        self._request: BundleRequest | None = None
        self._before: dict[Path, tuple[int, int]] = {}

    @property
    def running(self) -> bool:
        """Whether a run has been started and its outcome not yet reported."""
        return self._runner.running

    @property
    def log_file(self) -> Path:
        """``run.log`` of the run that runs or ran last.

        Raises
        ------
        ValueError
            If there was no run.
        """
        if self._request is None:
            raise ValueError("there was no run")
        return self._request.log_file

    def start(self, write: WriteInput, output_dir: Path, settings: RunSettings) -> None:
        """Write the input and start the bundle.

        Parameters
        ----------
        write : callable
            Writes the input into an empty temporary folder and returns the path that the bundle reads.
        output_dir : Path
            Folder of this run: results and ``run.log``.
        settings : RunSettings
            What to do.

        Raises
        ------
        AlreadyRunningError, BundleMissingError, ProcessStartError, UnsafeSettingError
            As :meth:`BundleProcess.start`; the temporary input is gone then.
        OSError
            If the input cannot be written.
        """
        if self.running:
            raise AlreadyRunningError("run.busy")
        sweep_stale_input_folders(self._temporary_folder)
        temporary = TemporaryInputFolder(self._temporary_folder)
        before = _identities(output_dir)
        try:
            request = self.request(settings, write(temporary.path), output_dir)
            self._runner.start(request)
        except BaseException:
            temporary.remove()
            raise
        self._input, self._request, self._before = temporary, request, before

    def request(self, settings: RunSettings, dataset_dir: Path, output_dir: Path) -> BundleRequest:
        """Return what the runner is asked for with these settings.

        Raises
        ------
        BundleMissingError
            If the system that they name is not installed.
        """
        method = {"explanation_method": settings.explanation_method} if settings.system == SHIPPED else {}
        return BundleRequest(
            python=self._python,
            bundle_root=self.bundle_root,
            dataset_dir=dataset_dir,
            output_dir=output_dir,
            device=settings.device,
            operating_point=settings.operating_point,
            overrides={**method, **settings.overrides},
            configuration=None
            if settings.system == SHIPPED
            else installed_system(self.bundle_root, settings.system).configuration,
        )

    def poll(self) -> RunUpdate:
        """Report what has happened since the last call; the temporary input goes with the outcome."""
        update = self._runner.poll()
        if update.outcome is not None:
            self._remove_input()
        return update

    def cancel(self) -> None:
        """Ask for the end of the run; return at once."""
        self._runner.cancel()

    def close(self) -> None:
        """End the run, if there is one, wait for it, and remove its temporary input."""
        self._runner.close()
        self._remove_input()

    def result_folders(self) -> list[Path]:
        """Return the folders of the results that the last run wrote, in the order of their names.

        Results of earlier runs into the same folder are left out: their studies may be there no longer.
        """
        if self._request is None:
            return []
        identities = _identities(self._request.output_dir)
        return [folder for folder, identity in identities.items() if self._before.get(folder) != identity]

    def _remove_input(self) -> None:
        if self._input is not None:
            self._input.remove()
            self._input = None


def result_folders(output_dir: Path) -> list[Path]:
    """Return the whole result folders in an output folder, in the order of their names."""
    # The bundle names half-written folders with a leading dot and renames them when they are complete.
    return sorted(path.parent for path in output_dir.glob("*/result.json") if not path.parent.name.startswith("."))


def _identities(output_dir: Path) -> dict[Path, tuple[int, int]]:
    """Tell each result in an output folder from any that replaces it: time of writing (ns) and place on the disk."""
    stats = {folder: (folder / "result.json").stat() for folder in result_folders(output_dir)}
    return {folder: (stat.st_mtime_ns, stat.st_ino) for folder, stat in stats.items()}


def run_folder(output_folder: Path, name: str, now: datetime | None = None) -> Path:
    """Return a folder that does not exist yet for a run on a study of this name; long names are cut short.

    No path of a result is then longer than :data:`LONGEST_PATH`, unless ``output_folder`` leaves no room for that.
    """
    stem = f"{safe_name(name, longest_name(output_folder, len(_DATE)))} {(now or datetime.now()):%Y-%m-%d %H%M%S}"
    folder, number = output_folder / stem, 1
    while folder.exists():
        number += 1
        folder = output_folder / f"{stem} ({number})"
    return folder


def longest_name(output_folder: Path, beside: int) -> int:
    """Return how long a study's name may be in the name of a folder in ``output_folder``, ``beside`` other characters.

    At least 8 characters, so that studies stay recognisable.
    """
    room = LONGEST_PATH - len(str(output_folder)) - len("/") - beside - _BELOW_RUN
    return max(_SHORTEST_NAME, min(_LONGEST_NAME, room))


def leaves_room(output_folder: Path) -> bool:
    """Return whether results in this folder have paths that every Windows opens."""
    shortest = len(str(output_folder)) + len("/") + _SHORTEST_NAME + len(_DATE) + _BELOW_RUN
    return shortest <= LONGEST_PATH


def safe_name(name: str, longest: int = _LONGEST_NAME) -> str:
    """Turn any name into one that is a valid folder name on every system, of at most so many characters."""
    return _UNSAFE.sub("_", name)[:longest].strip(" .") or "study"
