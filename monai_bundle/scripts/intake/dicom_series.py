"""The choice among the series of a study: which stacks are worth reading, and in which order they are tried."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scripts.intake.brain_coverage import BrainCoverage
from scripts.intake.image_kind import (
    has_changed_values,
    is_in_hounsfield_units,
    is_localizer,
    is_monoenergetic,
    is_reformat,
)
from scripts.intake.kernel import is_bone_kernel
from scripts.intake.slice_geometry import measure_gaps
from scripts.intake.slice_header import SliceHeader
from scripts.intake.stack import Stack
from scripts.intake.stacking import FEWEST_SLICES, stacks_of
from scripts.intake.study import NotEvaluableError
from scripts.messages import Message

_SHORTEST_MM = 60.0
_PREFERRED_MM = (2.5, 5.5)
_LARGEST_ANGLE_COSINE = float(np.cos(np.radians(50.0)))
_WHOLE_COVERAGE = 0.8
"""Fraction of the brain in the best series above which a series covers as much."""

Coverage = Mapping[int, BrainCoverage]
"""Brain of each stack, by its place in a list."""


@dataclass(frozen=True)
class RankedStacks:
    """The stacks of a study.

    Attributes
    ----------
    usable : tuple of Stack
        Without a fault, the best first.
    coverage : tuple of BrainCoverage
        Brain of each; all empty where it was not estimated.
    passed_over : tuple of Message
        One sentence per series that is not to be tried.
    """

    usable: tuple[Stack, ...]
    coverage: tuple[BrainCoverage, ...]
    passed_over: tuple[Message, ...]

    def sentences(self, chosen: Stack, refused: Mapping[int, Message]) -> tuple[Message, ...]:
        """State for every series whether it was chosen or left out, and why.

        Parameters
        ----------
        chosen : Stack
            One of the usable stacks.
        refused : mapping of int to Message
            Why stacks before it were tried in vain, by their place.
        """
        place = next(index for index, stack in enumerate(self.usable) if stack is chosen)
        best = max((each.volume_ml for each in self.coverage), default=0.0)
        criteria = [
            _criteria(stack, coverage, best) for stack, coverage in zip(self.usable, self.coverage, strict=True)
        ]
        found = [_chosen(chosen)]
        if chosen.repeated:
            found.append(Message("series.repeated", series=chosen.describe(), slices=len(chosen.repeated)))
        if chosen.copies:
            found.append(Message("series.copies", series=chosen.describe(), slices=len(chosen.copies)))
        for index, stack in enumerate(self.usable):
            if index != place:
                reason = refused.get(index) or _why_second(criteria[index], criteria[place])
                found.append(left_out(stack, reason))
        return (*found, *self.passed_over)


def choose_stack(headers: Sequence[SliceHeader]) -> tuple[Stack, tuple[Message, ...]]:
    """Choose the series to read among all images of one study from their headers alone.

    Returns
    -------
    Stack, tuple of Message
        The chosen stack, and one sentence per series: chosen or left out, and why.

    Raises
    ------
    NotEvaluableError
        As :func:`rank_stacks`.
    """
    ranked = rank_stacks(headers)
    return ranked.usable[0], ranked.sentences(ranked.usable[0], {})


def rank_stacks(
    headers: Sequence[SliceHeader], estimate: Callable[[Stack], BrainCoverage] | None = None
) -> RankedStacks:
    """Order the stacks of one study by how well they are read.

    Preferred, in this order: axial by their geometry, enough slices, as much brain as any other, originals, no contrast
    medium, no bone kernel, one energy as measured, no missing slices, 3 to 5 mm thick, not derived, more slices, lower
    series number.

    Parameters
    ----------
    headers : sequence of SliceHeader
        All images of one study, in any order.
    estimate : callable, optional
        Gives the brain of a stack; asked only where there is a choice.

    Raises
    ------
    NotEvaluableError
        ``"not_ct"``, ``"localizer_only"``, ``"no_original_series"``, ``"no_hounsfield_units"``, or, where no stack is
        without a fault, that of the largest: ``"no_geometry"``, ``"mixed_sizes"``, ``"shifted_slices"``, ``"colour"``.
    """
    images, sentences = _images_worth_stacking(headers)
    stacks = stacks_of(images)
    usable = [stack for stack in stacks if stack.fault is None]
    if not usable:
        raise next(fault for stack in sorted(stacks, key=_slices, reverse=True) if (fault := stack.fault))
    asked = estimate if estimate and len(usable) > 1 else lambda _: BrainCoverage()
    covered = [(stack, asked(stack)) for stack in usable]
    best = max(coverage.volume_ml for _, coverage in covered)
    covered.sort(key=lambda entry: tuple(value for value, _ in _criteria(entry[0], entry[1], best)))
    sentences.extend(left_out(stack, stack.fault.message) for stack in stacks if stack.fault)
    stacks_in_order, coverage_in_order = zip(*covered, strict=True)
    return RankedStacks(stacks_in_order, coverage_in_order, tuple(sentences))


def _images_worth_stacking(headers: Sequence[SliceHeader]) -> tuple[list[SliceHeader], list[Message]]:
    """Leave out images that no head can be read from; refuse the study where that leaves none."""
    found = ", ".join(sorted({header.modality or "?" for header in headers}))
    types = ", ".join(sorted({header.rescale_type or "" for header in headers} - {"", "HU", "US"})) or "?"
    filters: list[tuple[Callable[[SliceHeader], bool], Message, NotEvaluableError]] = [
        (
            lambda header: header.modality == "CT",
            Message("series.not_ct"),
            NotEvaluableError("not_ct", modalities=found),
        ),
        (
            lambda header: not is_localizer(header),
            Message("series.localizer"),
            NotEvaluableError("localizer_only"),
        ),
        (
            lambda header: not has_changed_values(header),
            Message("series.changed_values"),
            NotEvaluableError("no_original_series"),
        ),
        (
            is_in_hounsfield_units,
            Message("series.not_hounsfield"),
            NotEvaluableError("no_hounsfield_units.type", types=types),
        ),
    ]
    images = list(headers)
    sentences: list[Message] = []
    for is_kept, reason, refusal in filters:
        kept = [header for header in images if is_kept(header)]
        if not kept:
            raise refusal
        sentences += _sentences([header for header in images if not is_kept(header)], reason)
        images = kept
    return images, sentences


def _sentences(headers: Sequence[SliceHeader], reason: Message) -> list[Message]:
    by_series: dict[str, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        by_series[header.series_uid].append(header)
    return [left_out(Stack(tuple(group), np.empty(0)), reason) for group in by_series.values()]


def left_out(stack: Stack, reason: Message) -> Message:
    """Return the sentence that a stack is not read."""
    return Message("series.left_out", series=stack.describe(), reason=reason)


def _slices(stack: Stack) -> int:
    return len(stack.headers)


def _criteria(stack: Stack, coverage: BrainCoverage, best_ml: float) -> list[tuple[float, Message]]:
    """List what decides between stacks: a value (smaller is better) and the reason that a larger one gives."""
    short = len(stack.headers) < FEWEST_SLICES or stack.extent_mm < _SHORTEST_MM
    thinnest, thickest = _PREFERRED_MM
    thickness = 1.0 if stack.thickness_mm < thinnest else 2.0 if stack.thickness_mm > thickest else 0.0
    missing = measure_gaps(stack.positions_mm).missing if len(stack.headers) > 1 else 0
    number = stack.first.series_number
    return [
        (float(not is_axial(stack)), Message("series.not_axial")),
        (float(short), Message("series.too_short")),
        (float(coverage.volume_ml < _WHOLE_COVERAGE * best_ml), Message("series.less_brain")),
        (float(is_reformat(stack.first)), Message("series.reformat")),
        (float(stack.contrast), Message("series.contrast")),
        (float(is_bone_kernel(stack.first.kernel)), Message("series.bone_kernel")),
        (float(is_monoenergetic(stack.first)), Message("series.monoenergetic")),
        (float(missing), Message("series.missing_slices")),
        (thickness, Message("series.thickness")),
        (float("DERIVED" in stack.first.image_type), Message("series.derived")),
        (-float(len(stack.headers)), Message("series.fewer_slices")),
        (float("inf") if number is None else float(number), Message("series.equal")),
    ]


def is_axial(stack: Stack) -> bool:
    """Whether the slices lie within 50 degrees of axial, by their direction cosines."""
    return abs(float(stack.normal[2])) >= _LARGEST_ANGLE_COSINE


def _chosen(stack: Stack) -> Message:
    kernel = stack.first.kernel
    reasons = [] if stack.contrast else [Message("series.because_no_contrast")]
    if kernel and not is_bone_kernel(kernel):
        reasons.append(Message("series.because_soft_kernel"))
    if reasons:
        return Message("series.chosen_because", series=stack.describe(), reasons=tuple(reasons))
    return Message("series.chosen", series=stack.describe())


def _why_second(criteria: Sequence[tuple[float, Message]], chosen: Sequence[tuple[float, Message]]) -> Message:
    for (value, reason), (best, _) in zip(criteria, chosen, strict=True):
        if value > best:
            return reason
    return Message("series.equal")
