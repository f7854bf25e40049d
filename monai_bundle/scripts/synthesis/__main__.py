"""Command line: ``python -m scripts.synthesis --study CT --output DIR --subtype subdural --volume-ml 20 --seed 3``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scripts.intake.discovery import find_studies, read_study
from scripts.intake.study import CTStudy, IntakeError
from scripts.synthesis.lesion import SUBTYPES, LesionRequest
from scripts.synthesis.random_synthesis import SynthesisSettings
from scripts.synthesis.synthesis import synthesise
from scripts.synthesis.working_grid import SynthesisError
from scripts.synthesis.writing import write_synthesis

_LOG = logging.getLogger("synthesis")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.synthesis", description="Set synthetic haemorrhages into a head CT. Research use only."
    )
    parser.add_argument("--study", type=Path, required=True, help="DICOM folder, NIfTI or NRRD file of one head CT")
    parser.add_argument("--output", type=Path, required=True, help="folder for CT, masks, labels and montage")
    parser.add_argument("--subtype", choices=SUBTYPES, action="append", default=[], help="may be repeated; else drawn")
    parser.add_argument("--volume-ml", type=float, action="append", default=[], help="one for all, or one per subtype")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def _requests(chosen: argparse.Namespace, generator: np.random.Generator) -> list[LesionRequest]:
    settings = SynthesisSettings()
    subtypes = chosen.subtype or [settings.draw_request(generator).subtype]
    volumes = chosen.volume_ml or [settings.draw_request(generator).volume_ml for _ in subtypes]
    if len(volumes) == 1:
        volumes = volumes * len(subtypes)
    if len(volumes) != len(subtypes):
        raise SynthesisError("bad_volumes", volumes=len(volumes), subtypes=len(subtypes))
    return [LesionRequest(subtype, volume) for subtype, volume in zip(subtypes, volumes, strict=True)]


def _read(path: Path) -> CTStudy:
    if not path.exists():
        raise SynthesisError("no_study", name=path.name)
    found = find_studies(path)
    if len(found) != 1:
        raise SynthesisError("no_study.several", name=path.name, studies=len(found))
    return read_study(found[0])


def main(argv: Sequence[str] | None = None) -> int:
    """Write one synthetic study; 0 when written, 1 with one line on standard error when it cannot be made."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    chosen = _arguments(argv)
    generator = np.random.default_rng(chosen.seed)
    try:
        study = _read(chosen.study)
        made = synthesise(study, _requests(chosen, generator), generator)
        name = chosen.study.name.removesuffix(".gz").removesuffix(".nii").removesuffix(".nrrd")
        write_synthesis(made, chosen.output, name, chosen.seed)
    except (IntakeError, ValueError, OSError) as error:
        code = getattr(error, "code", type(error).__name__)
        _LOG.error("synthesis not written (%s): %s", code, error)
        return 1
    for each in made.lesions:
        _LOG.info(
            "%s (%s, %s): %.1f ml of %.1f ml asked for",
            each.kind,
            each.pattern,
            each.side,
            each.volume_ml,
            each.asked_ml,
        )
    _LOG.info("synthetic study written to %s", chosen.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
