"""The images of one report: lesions, key slices with their attribution maps, all input slices, maps of the labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scripts.diagnosis import MAP_KINDS, SALIENCY_FILE, AttributionMap, Diagnosis, Finding, SliceResult
from scripts.labels import Label
from scripts.messages import Message
from scripts.output.impression import percent
from scripts.output.lesion_images import LesionSlice, contours, group_masks, lesion_slices
from scripts.output.overlay import jpeg_uri, overlay
from scripts.output.slice_images import Display, display_of, grey_slab, millimetres

KEY_SLICES_SHOWN = 5
_KEY_PIXELS, _SMALL_PIXELS, _TILE_PIXELS = 640, 260, 180


@dataclass(frozen=True)
class SliceOutput:
    """What the slice classifier gives any haemorrhage on a slice, and the subtype that it gives most."""

    haemorrhage: str
    subtype: Label
    probability: str


@dataclass(frozen=True)
class KeySlice:
    """One key slice as the report shows it; ``number`` counts from 1 as viewers do, images are data URIs.

    ``averaged`` holds the numbers of the first and last original slice where the input slice is the mean of several.
    """

    rank: int
    number: int
    position: str
    attention: str
    averaged: tuple[int, int] | None
    output: SliceOutput | None
    ct: str
    map: str


@dataclass(frozen=True)
class Tile:
    """One input slice among all."""

    number: str
    rank: int | None
    image: str


@dataclass(frozen=True)
class SmallMap:
    """One map on the slice of most attention; without a finding where it belongs to no label."""

    name: Message
    finding: Finding | None
    scale: Message
    image: str


@dataclass(frozen=True)
class SaliencyImage:
    """One key slice with where a reader is expected to look."""

    number: int
    image: str


@dataclass(frozen=True)
class ReportImages:
    """Everything that the report shows of the study's slices."""

    display: Display
    lesion_slices: tuple[LesionSlice, ...]
    key_slices: tuple[KeySlice, ...]
    tiles: tuple[Tile, ...]
    small_maps: tuple[SmallMap, ...]
    saliency: tuple[SaliencyImage, ...]


def key_slices_of(diagnosis: Diagnosis) -> tuple[SliceResult, ...]:
    """Return the at most five slices of highest rank, first rank first."""
    ranked = sorted((entry.key_rank, entry.index, entry) for entry in diagnosis.slices if entry.key_rank is not None)
    return tuple(entry for rank, _, entry in ranked if rank <= KEY_SLICES_SHOWN)[:KEY_SLICES_SHOWN]


def shown_finding(diagnosis: Diagnosis) -> Finding:
    """Choose whose map is shown large.

    Of the positive types it is the one whose map is strongest on the key slices, where it will be seen; where all maps
    are empty there, the most probable. Where no type is positive it is "any", else the most probable label.
    """
    places = [entry.index for entry in key_slices_of(diagnosis)]

    def preference(finding: Finding) -> tuple[bool, bool, bool, float, float]:
        single_type = finding.label.key != "any"
        found = next((entry for entry in diagnosis.maps if entry.label == finding.label), None)
        seen = 0.0 if found is None or not single_type else found.scale * float(found.voxels[places].sum(dtype=float))
        positive_type = finding.positive and single_type
        return positive_type, finding.positive, not single_type, seen * positive_type, finding.probability

    return max(diagnosis.findings, key=preference)


def map_of(diagnosis: Diagnosis, finding: Finding) -> AttributionMap | None:
    """Return the attribution map of a finding's label, if the run made one and it is to be drawn."""
    if not (finding.positive or diagnosis.draw_negative_maps):
        return None
    return next((entry for entry in diagnosis.maps if entry.label == finding.label), None)


def report_images(diagnosis: Diagnosis) -> ReportImages:
    """Draw all slices of a report.

    A key slice that was averaged with its neighbours into one input slice is shown as their mean, with the map of the
    key slice itself. Maps of negative findings are left out unless the diagnosis asks for them.
    """
    display = display_of(diagnosis.study, diagnosis.head)
    key_slices = key_slices_of(diagnosis)
    shown, lesions = map_of(diagnosis, shown_finding(diagnosis)), diagnosis.stated_lesions
    return ReportImages(
        display=display,
        lesion_slices=lesion_slices(diagnosis, lesions, display) if lesions else (),
        key_slices=tuple(_key_slice(diagnosis, entry, shown, display) for entry in key_slices),
        tiles=_tiles(diagnosis, key_slices, display),
        small_maps=_small_maps(diagnosis, key_slices[0].index, display) if key_slices else (),
        saliency=tuple(_saliency_images(diagnosis, key_slices, display)),
    )


def saliency_of(diagnosis: Diagnosis) -> AttributionMap | None:
    """Return the map of where a reader is expected to look, if the network predicts one."""
    return next((entry for entry in diagnosis.maps if entry.file_name == SALIENCY_FILE), None)


def _saliency_images(
    diagnosis: Diagnosis, key_slices: tuple[SliceResult, ...], display: Display
) -> Iterator[SaliencyImage]:
    saliency = saliency_of(diagnosis)
    if saliency is None:
        return
    for entry in key_slices:
        grey = grey_slab(diagnosis.study, input_slice_of(diagnosis, entry.index), display, _SMALL_PIXELS)
        shown = display.sized(saliency.voxels[entry.index], _SMALL_PIXELS)
        yield SaliencyImage(entry.index + 1, jpeg_uri(overlay(grey, shown)))


def input_slice_of(diagnosis: Diagnosis, index: int) -> tuple[int, ...]:
    """Return the original slices that the input slice with this one is made of."""
    return next((slab for slab in diagnosis.input_slices if index in slab), (index,))


def _key_slice(diagnosis: Diagnosis, entry: SliceResult, shown: AttributionMap | None, display: Display) -> KeySlice:
    slab = input_slice_of(diagnosis, entry.index)
    grey = grey_slab(diagnosis.study, slab, display, _KEY_PIXELS)
    return KeySlice(
        rank=entry.key_rank or 0,
        number=entry.index + 1,
        position=millimetres(entry.position_mm),
        attention=percent(entry.attention, 1),
        averaged=(slab[0] + 1, slab[-1] + 1) if len(slab) > 1 else None,
        output=_slice_output(diagnosis, entry),
        ct=jpeg_uri(grey),
        map=jpeg_uri(overlay(grey, display.sized(shown.voxels[entry.index], _KEY_PIXELS))) if shown else "",
    )


def _slice_output(diagnosis: Diagnosis, entry: SliceResult) -> SliceOutput | None:
    of_labels = entry.probabilities
    if of_labels is None or entry.haemorrhage is None:
        return None
    subtypes = [found.label for found in diagnosis.findings if found.label.is_haemorrhage and found.label.key != "any"]
    leading = max(subtypes, key=lambda label: of_labels[label.key])
    return SliceOutput(percent(entry.haemorrhage), leading, percent(of_labels[leading.key]))


def _tiles(diagnosis: Diagnosis, key_slices: tuple[SliceResult, ...], display: Display) -> tuple[Tile, ...]:
    ranks = {entry.index: entry.key_rank for entry in key_slices}
    lesions, tiles = diagnosis.stated_lesions, []
    for slab in diagnosis.input_slices:
        inside = [rank for index in slab if (rank := ranks.get(index)) is not None]
        number = str(slab[0] + 1) if len(slab) == 1 else f"{slab[0] + 1}–{slab[-1] + 1}"
        grey = grey_slab(diagnosis.study, slab, display, _TILE_PIXELS)
        if lesions is not None:
            grey = contours(grey, group_masks(lesions, diagnosis.model.labels, slab[len(slab) // 2]), display)
        image = jpeg_uri(grey)
        tiles.append(Tile(number=number, rank=min(inside, default=None), image=image))
    return tuple(tiles)


def _small_maps(diagnosis: Diagnosis, index: int, display: Display) -> tuple[SmallMap, ...]:
    """Draw the maps of labels, and feature attention where it was asked for, on one slice."""
    grey = grey_slab(diagnosis.study, input_slice_of(diagnosis, index), display, _SMALL_PIXELS)
    by_label = {finding.label: finding for finding in diagnosis.findings}
    return tuple(
        SmallMap(
            name=Message(MAP_KINDS[entry.kind].caption),
            finding=by_label[entry.label] if entry.label else None,
            scale=Message("report.scale_of_label", scale=f"{entry.scale:.2g}", largest=_largest(entry)),
            image=jpeg_uri(overlay(grey, display.sized(entry.voxels[index], _SMALL_PIXELS))),
        )
        for entry in sorted(diagnosis.maps, key=lambda entry: entry.label is None)
        # Slice attention is one value per slice: its place is the plot; saliency has a section of its own.
        if entry.kind != "attention"
        and entry.file_name != SALIENCY_FILE
        and (entry.label is None or map_of(diagnosis, by_label[entry.label]))
    )


def _largest(entry: AttributionMap) -> str:
    return f"{entry.scale if entry.largest is None else entry.largest:.2g}"
