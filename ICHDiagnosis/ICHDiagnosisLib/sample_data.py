"""Sample data: a phantom with haemorrhage, made on the spot, and a public head CT with haemorrhage."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import slicer

from .bundle.command import BundleRequest
from .bundle.process import BundleRunner
from .bundle.short_run import run_to_end
from .messages import MessageError
from .scene.study_volume import forget_file

CATEGORY = "ICHDiagnosis"
PHANTOM_NAME = "ICHPhantom"
PHANTOM_HAEMORRHAGES = ("intraparenchymal", "subdural")
HEAD_CT_NAME = "ICH-ADAPT2"
HEAD_CT_FILE = "ICH-ADAPT2.nii.gz"
HEAD_CT_SHA256 = "40e9f1cb82dd68e8bd19dccf0ad116c8cb2eb67a8cfadf3ad9155642e4851d89"
HEAD_CT_ADDRESS = f"https://github.com/lassoan/SlicerMONAIAuto3DSeg/releases/download/TestingData/{HEAD_CT_FILE}"


class SampleDataError(MessageError):
    """The sample could not be made; the message is one line for the user."""


def phantom_command(request: BundleRequest) -> list[str]:
    """Build the command line that writes a phantom into ``request.output_dir``; overrides are further options.

    To be given to :class:`ICHDiagnosisLib.bundle.process.BundleProcess` as ``build``.
    """
    command = [str(request.python), "-m", "scripts.phantom", "--format", "nifti", "--output", str(request.output_dir)]
    for kind in PHANTOM_HAEMORRHAGES:
        command += ["--haemorrhage", kind]
    for option, value in request.overrides.items():
        command += [f"--{option}", value]
    return command


def load_phantom(
    runner: BundleRunner,
    python: Path,
    bundle_root: Path,
    keep_alive: Callable[[], None],
    options: dict[str, str] | None = None,
) -> slicer.vtkMRMLScalarVolumeNode:
    """Make a phantom in a child process and load it; takes some seconds.

    Parameters
    ----------
    runner : BundleRunner
        Made with :func:`phantom_command`; its ``cancel()`` ends this call with an error.
    python : Path
        Python that runs the bundle.
    bundle_root : Path
        Folder of the bundle.
    keep_alive : callable
        Called again and again while waiting (``slicer.app.processEvents``).
    options : dict of str to str, optional
        Of ``python -m scripts.phantom``, for example ``{"pixels": "128"}``.

    Raises
    ------
    SampleDataError
        If the phantom could not be made or loaded.
    BundleMissingError, ProcessStartError, AlreadyRunningError
        As :meth:`BundleProcess.start`.
    """
    with tempfile.TemporaryDirectory(prefix="ich-phantom-") as name:
        folder = Path(name)
        request = BundleRequest(python, bundle_root, folder, folder, overrides=options or {})
        outcome, _lines = run_to_end(runner, request, keep_alive)
        if outcome.exit_status != 0:
            raise SampleDataError("sample.not_made", reason=f"{outcome.message} {outcome.suggestion}".strip())
        return _load_without_file(folder / "ct.nii.gz", PHANTOM_NAME)


def register_sample_data(make_phantom: Callable[[object], object], thumbnail: Path) -> None:
    """Offer both samples in the Sample Data module.

    Parameters
    ----------
    make_phantom : callable
        Called with the source when the phantom is asked for.
    thumbnail : Path
        Image of the buttons.
    """
    import SampleData  # noqa: PLC0415 - a module of the application, complete only after its start

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=PHANTOM_NAME,
        uris="",
        fileNames="",
        nodeNames=PHANTOM_NAME,
        thumbnailFileName=str(thumbnail),
        customDownloader=make_phantom,
    )
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=HEAD_CT_NAME,
        uris=HEAD_CT_ADDRESS,
        fileNames=HEAD_CT_FILE,
        nodeNames=HEAD_CT_NAME,
        checksums=f"SHA256:{HEAD_CT_SHA256}",
        thumbnailFileName=str(thumbnail),
    )


def _load_without_file(path: Path, node_name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Load a volume whose file is about to go: it must be saved with the scene, not searched for again."""
    try:
        node = slicer.util.loadVolume(str(path), {"name": node_name})
    except RuntimeError as error:
        raise SampleDataError("sample.not_loaded") from error
    forget_file(node)
    return node
