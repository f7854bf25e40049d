"""The pictures of one report: key slices with their heat maps, the montage and the small maps of every label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scripts.diagnosis import AttributionMap, Diagnosis, Finding, SliceResult
from scripts.output.display import Display, brain_window, display_of
from scripts.output.impression import percent
from scripts.output.pictures import heat_on, jpeg_uri
from scripts.output.provenance import millimetres

KEY_SLICES_SHOWN = 5
_KEY_PIXELS, _SMALL_PIXELS, _TILE_PIXELS = 640, 260, 180


@dataclass(frozen=True)
class KeySlice:
    """One key slice as the report shows it; ``number`` counts from 1 as viewers do."""

    rank: int
    number: int
    position: str
    attention: str
    averaged: str
    ct: str
    heat: str


@dataclass(frozen=True)
class Tile:
    """One read slice in the montage."""

    number: str
    rank: int | None
    picture: str


@dataclass(frozen=True)
class SmallMap:
    """One label's map on the slice of most attention."""

    name: str
    probability: str
    positive: bool
    scale: str
    picture: str


@dataclass(frozen=True)
class EvidenceViews:
    """Everything that the report shows of the study's slices."""

    display: Display
    key_slices: tuple[KeySlice, ...]
    tiles: tuple[Tile, ...]
    small_maps: tuple[SmallMap, ...]


def key_slices_of(diagnosis: Diagnosis) -> tuple[SliceResult, ...]:
    """Return the at most five slices of highest rank, first rank first."""
    ranked = sorted(
        (evidence.key_rank, evidence.index, evidence) for evidence in diagnosis.slices if evidence.key_rank is not None
    )
    return tuple(evidence for rank, _, evidence in ranked if rank <= KEY_SLICES_SHOWN)[:KEY_SLICES_SHOWN]


def heat_finding(findings: tuple[Finding, ...]) -> Finding:
    """Choose whose heat map is shown large: the likeliest positive kind, else "any", else the likeliest label."""

    def preference(finding: Finding) -> tuple[bool, bool, bool, float]:
        kind = finding.label.key != "any"
        return finding.positive and kind, finding.positive, not kind, finding.probability

    return max(findings, key=preference)


def gradcam_of(diagnosis: Diagnosis, finding: Finding) -> AttributionMap | None:
    """Return the Grad-CAM of a finding's label, if the run made one."""
    return next((evidence for evidence in diagnosis.maps if evidence.label == finding.label), None)


def evidence_views(diagnosis: Diagnosis) -> EvidenceViews:
    """Draw all slices of a report.

    A key slice that the network read as part of a slab is shown as that slab's mean, with the map of the key slice.
    """
    display = display_of(diagnosis.study, diagnosis.head)
    slabs = {index: slab for slab in diagnosis.read_slices for index in slab}
    key_slices = key_slices_of(diagnosis)
    shown = gradcam_of(diagnosis, heat_finding(diagnosis.findings))
    return EvidenceViews(
        display=display,
        key_slices=tuple(
            _key_slice(diagnosis, evidence, slabs.get(evidence.index, (evidence.index,)), shown, display)
            for evidence in key_slices
        ),
        tiles=_tiles(diagnosis, key_slices, display),
        small_maps=_small_maps(diagnosis, key_slices[0].index, display) if key_slices else (),
    )


def _grey(diagnosis: Diagnosis, slab: tuple[int, ...], display: Display, longest: int) -> NDArray[np.uint8]:
    stored = diagnosis.study.voxels[list(slab)]
    return display.sized(brain_window(stored[0] if len(slab) == 1 else stored.mean(axis=0, dtype=np.float32)), longest)


def _key_slice(
    diagnosis: Diagnosis, evidence: SliceResult, slab: tuple[int, ...], shown: AttributionMap | None, display: Display
) -> KeySlice:
    grey = _grey(diagnosis, slab, display, _KEY_PIXELS)
    heat = jpeg_uri(heat_on(grey, display.sized(shown.voxels[evidence.index], _KEY_PIXELS))) if shown else ""
    return KeySlice(
        rank=evidence.key_rank or 0,
        number=evidence.index + 1,
        position=millimetres(evidence.position_mm),
        attention=percent(evidence.attention, 1),
        averaged=f"mean of slices {slab[0] + 1}–{slab[-1] + 1}" if len(slab) > 1 else "",
        ct=jpeg_uri(grey),
        heat=heat,
    )


def _tiles(diagnosis: Diagnosis, key_slices: tuple[SliceResult, ...], display: Display) -> tuple[Tile, ...]:
    ranks = {evidence.index: evidence.key_rank for evidence in key_slices}
    tiles = []
    for slab in diagnosis.read_slices:
        inside = [rank for index in slab if (rank := ranks.get(index)) is not None]
        number = str(slab[0] + 1) if len(slab) == 1 else f"{slab[0] + 1}–{slab[-1] + 1}"
        picture = jpeg_uri(_grey(diagnosis, slab, display, _TILE_PIXELS))
        tiles.append(Tile(number=number, rank=min(inside, default=None), picture=picture))
    return tuple(tiles)


def _small_maps(diagnosis: Diagnosis, index: int, display: Display) -> tuple[SmallMap, ...]:
    slab = next((slab for slab in diagnosis.read_slices if index in slab), (index,))
    grey = _grey(diagnosis, slab, display, _SMALL_PIXELS)
    found = [(finding, gradcam_of(diagnosis, finding)) for finding in diagnosis.findings]
    return tuple(
        SmallMap(
            name=finding.label.name,
            probability=percent(finding.probability),
            positive=finding.positive,
            scale=f"{evidence.scale:.2g}",
            picture=jpeg_uri(heat_on(grey, display.sized(evidence.voxels[index], _SMALL_PIXELS))),
        )
        for finding, evidence in found
        if evidence is not None
    )
