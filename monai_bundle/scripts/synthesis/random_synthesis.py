"""Draw what to set into a host: how many haemorrhages of which subtype and volume, and which mimics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from scripts.intake.study import CTStudy
from scripts.synthesis.anatomy import HeadAnatomy, find_anatomy
from scripts.synthesis.artefacts import ARTEFACTS
from scripts.synthesis.canvas import HostCanvas
from scripts.synthesis.lesion import SUBTYPES, LesionRequest, PlacedLesion, Subtype
from scripts.synthesis.mimics import MIMICS
from scripts.synthesis.synthesis import Synthesis, place, result
from scripts.synthesis.working_grid import SynthesisError

_ATTEMPTS = 5


@dataclass(frozen=True)
class SynthesisSettings:
    """What is drawn how often.

    Attributes
    ----------
    subtype_probabilities : mapping of str to float
        Weight of each subtype.
    volume_ml : tuple of float
        Smallest and largest volume; its logarithm is uniform.
    second : float
        Probability that a host with a haemorrhage gets a second one.
    mimic : float
        Probability of a finding that resembles blood, with or without a haemorrhage.
    artefact : float
        Probability of an artefact, likewise.
    """

    subtype_probabilities: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(SUBTYPES, 0.2))
    volume_ml: tuple[float, float] = (0.3, 80.0)
    second: float = 0.2
    mimic: float = 0.35
    artefact: float = 0.25

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn from."""
        unknown = set(self.subtype_probabilities) - set(SUBTYPES)
        if unknown:
            raise ValueError(f"unknown subtypes {', '.join(sorted(unknown))}; choose among {', '.join(SUBTYPES)}")
        weights = list(self.subtype_probabilities.values())
        if not weights or min(weights) < 0.0 or sum(weights) <= 0.0:
            raise ValueError("subtype probabilities must not be negative, and one must be positive")
        low, high = self.volume_ml
        if not 0.05 <= low <= high <= 200.0:
            raise ValueError(f"volumes from {low} to {high} ml; between 0.05 and 200 ml, the smaller first")
        if not all(0.0 <= each <= 1.0 for each in (self.second, self.mimic, self.artefact)):
            raise ValueError("probabilities lie between 0 and 1")

    def draw_request(self, generator: np.random.Generator) -> LesionRequest:
        """Draw subtype and volume."""
        subtypes: list[Subtype] = [each for each in SUBTYPES if each in self.subtype_probabilities]
        weights = np.array([self.subtype_probabilities[each] for each in subtypes])
        subtype = subtypes[int(generator.choice(len(subtypes), p=weights / weights.sum()))]
        low, high = np.log(self.volume_ml[0]), np.log(self.volume_ml[1])
        return LesionRequest(subtype, float(np.exp(generator.uniform(low, high))))


def draw_synthesis(
    study: CTStudy,
    generator: np.random.Generator,
    settings: SynthesisSettings | None = None,
    *,
    haemorrhage: bool = True,
    anatomy: HeadAnatomy | None = None,
) -> Synthesis:
    """Set drawn findings into a host.

    Where the host has no place for what was drawn (a slice without ventricles cannot bleed into them), another
    haemorrhage is drawn, up to five times.

    Parameters
    ----------
    study : CTStudy
        Host.
    generator : Generator
        Source of all randomness.
    settings : SynthesisSettings, optional
        What is drawn how often.
    haemorrhage : bool
        Whether there is a haemorrhage at all; without one, mimics and artefacts alone.
    anatomy : HeadAnatomy, optional
        Anatomy of the host, where it is known already.

    Raises
    ------
    SynthesisError
        If the anatomy cannot be found, or none of the haemorrhages drawn has a place.
    """
    settings = settings or SynthesisSettings()
    anatomy = anatomy or find_anatomy(study)
    fault: SynthesisError | None = None
    for _ in range(_ATTEMPTS):
        canvas = HostCanvas(study, anatomy, generator)
        placed: list[PlacedLesion] = []
        try:
            if haemorrhage:
                requests = [settings.draw_request(generator)]
                if generator.random() < settings.second:
                    requests.append(settings.draw_request(generator))
                order = ("epidural", "subdural", "intraparenchymal", "intraventricular", "subarachnoid")
                for request in sorted(requests, key=lambda each: order.index(each.subtype)):
                    placed += place(canvas, request)
        except SynthesisError as error:
            fault = error
            continue
        # One of a lesion's kind may be hidden by another of the same host: the label map decides.
        if haemorrhage and not canvas.labels.any():
            fault = SynthesisError("nothing_placed.no_voxel")
            continue
        placed += _look_alikes(canvas, settings)
        return result(study, canvas, placed)
    raise fault or SynthesisError("nothing_placed")


def _look_alikes(canvas: HostCanvas, settings: SynthesisSettings) -> list[PlacedLesion]:
    """Add a mimic and an artefact by their probabilities; one that has no place in this host is left out."""
    placed: list[PlacedLesion] = []
    for probability, ways in ((settings.mimic, MIMICS), (settings.artefact, ARTEFACTS)):
        if canvas.generator.random() >= probability:
            continue
        name = str(canvas.generator.choice(list(ways)))
        # What displaces brain would carry it away from under its mask.
        if canvas.labels.any() and name in ("tumour", "meningioma", "motion"):
            continue
        try:
            placed += ways[name](canvas)
        except SynthesisError:
            continue
    return placed
