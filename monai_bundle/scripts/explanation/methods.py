"""The registry of explanation methods: a new one is a function in a file of its own and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from scripts.explanation.grad_cam import explain_slices, explain_study, grad_cam_in_logits, grad_cam_plus_plus
from scripts.networks.study_network import StudyOutput

Explain = Callable[[StudyOutput, int], list[Tensor]]
"""Output of one pass and the number of a label -> layers (input slices, h, w) of any resolution, signed, in logits.

The layers cover the crop; they are resampled back to the original voxels and added there.
"""


@dataclass(frozen=True)
class ExplanationMethod:
    """How the map of a label is computed.

    Attributes
    ----------
    explain : callable
        See :data:`Explain`.
    needs_slice_classifier : bool
        Whether only networks with a slice classifier can be explained so.
    """

    explain: Explain
    needs_slice_classifier: bool = False


METHODS: dict[str, ExplanationMethod] = {
    "gradcam": ExplanationMethod(partial(explain_study, cell_values=grad_cam_in_logits)),
    "gradcam++": ExplanationMethod(partial(explain_study, cell_values=grad_cam_plus_plus)),
    "slice_gradcam": ExplanationMethod(
        partial(explain_slices, cell_values=grad_cam_in_logits), needs_slice_classifier=True
    ),
    "slice_gradcam++": ExplanationMethod(
        partial(explain_slices, cell_values=grad_cam_plus_plus), needs_slice_classifier=True
    ),
}
"""Name, as ``explanation_method`` and a map's ``kind`` have it, to the method."""
