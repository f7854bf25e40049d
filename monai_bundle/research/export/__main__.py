"""Export the network and check the files against torch: ``python -m research.export --output-dir DIR``.

The check reads a phantom, or a study of your own (``--study``); exit status 1 where a result differs by more than 1e-3.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from research.export.agreement import LARGEST_DIFFERENCE, differences, read_study
from research.export.exporting import CHECKPOINT, Configured, as_settings, complete_checkpoint, export
from scripts.exit_status import FAILED, install_handlers
from scripts.phantom import Haemorrhage, make_phantom, write_nifti

BUNDLE_ROOT = Path(__file__).resolve().parents[2]

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Export and check; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m research.export", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output-dir", type=Path, default=BUNDLE_ROOT / "cache" / "export", help="folder for the files"
    )
    parser.add_argument("--study", type=Path, help="head CT to check with; without it a phantom is made")
    parser.add_argument("--bundle-root", type=Path, default=BUNDLE_ROOT, help="the bundle's folder")
    parser.add_argument("--checkpoint-only", action="store_true", help="write the whole checkpoint and nothing else")
    parser.add_argument(
        "--set", nargs=2, action="append", default=[], metavar=("NAME", "JSON"), help="replace a setting"
    )
    parser.add_argument(
        "--override",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="lay a configuration on top",
    )
    options = parser.parse_args(arguments)
    configured = Configured(options.bundle_root.resolve(), as_settings(options.set), tuple(options.override))
    if options.checkpoint_only:
        written = complete_checkpoint(configured.network(), options.output_dir / CHECKPOINT)
        sys.stdout.write(f"{written}\n")
        return 0
    for path in export(configured, options.output_dir):
        sys.stdout.write(f"{path}\n")
    return check(configured, options.output_dir, options.study)


def check(configured: Configured, folder: Path, study: Path | None) -> int:
    """Print how far the exported files are from torch on one study; return the exit status."""
    with tempfile.TemporaryDirectory() as scratch:
        if study is None:
            phantom = make_phantom(haemorrhages=[Haemorrhage("subdural", "left", 40.0)])
            study = write_nifti(phantom, Path(scratch, "head.nii.gz"))
        given = read_study(configured, study, configured.network().slices)
    found = differences(configured, folder, given)
    for name, difference in found.items():
        sys.stdout.write(f"{name:<40}{difference:.1e}\n")
    largest = max(found.values())
    sys.stdout.write(f"largest difference {largest:.1e}, allowed {LARGEST_DIFFERENCE:.0e}\n")
    if largest > LARGEST_DIFFERENCE:
        logger.error("the exported files do not give what torch gives; do not use them")
        return FAILED
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for talkative in ("onnxscript", "onnx_ir"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    install_handlers()
    sys.exit(main())
