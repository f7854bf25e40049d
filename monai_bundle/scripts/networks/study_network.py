"""The seam behind which every network stands that reads a whole study: one pass, one output, whatever the source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.networks.backbone import Backbone
from scripts.networks.lesion_evidence import lesion_scores

SLAB_MM = 5.0
"""Distance of input slices of which none is known."""


@dataclass(frozen=True)
class FeatureMaps:
    """Feature maps of some input slices at one resolution.

    Attributes
    ----------
    maps : Tensor, shape (slices, channels, h, w)
        Leaf of the heads' graph.
    input_slices : Tensor of int64, shape (slices,)
        Which input slices they belong to.
    """

    maps: Tensor
    input_slices: Tensor


class SliceSource(Protocol):
    """Gives the embeddings of a study's input slices: from images through the backbone, or from a cache."""

    def embeddings(self) -> Tensor:
        """Return the embeddings of all input slices (input slices, channels)."""

    def high_resolution(self, input_slices: Tensor, size: int) -> Tensor:
        """Return the embeddings (n, channels) of chosen input slices (n,), read at ``size`` rows and columns."""

    def positions_mm(self) -> Tensor:
        """Return where the input slices lie along their normal, (input slices,), in mm, from the feet to the head."""

    def feature_maps(self) -> tuple[FeatureMaps, ...]:
        """Return the feature maps that the embeddings came from so far; none where only embeddings are known."""

    def lesion_logits(self) -> tuple[FeatureMaps, ...]:
        """Return logits (slices, labels, h, w) of the pixels of what was read so far; none without a decoder."""

    def saliency_logits(self) -> tuple[FeatureMaps, ...]:
        """Return logits (slices, 1, h, w) of where a reader looks, of what was read so far; none without a decoder."""


@dataclass(frozen=True)
class StudyOutput:
    """What a network returns for one study, all from one pass and with its graph.

    Attributes
    ----------
    sub_stack_logits : Tensor, shape (sub-stacks, labels)
        One row per sub-stack that the study was read in; networks that read a study at once have one row.
    slice_attention : Tensor, shape (input slices,)
        Sums to 1.
    slice_logits : Tensor, shape (input slices, labels)
        Of the slice classifier; 0 where the network has none.
    key_slices : Tensor of int64, shape (k,)
        Input slices that were read again at high resolution, ascending; k is 0 where there are none.
    key_slice_logits : Tensor, shape (k, labels)
        Of the slice classifier at high resolution.
    feature_attention : Tensor, shape (input slices, channels), or None
        Sums to 1 over the channels.
    feature_maps : tuple of FeatureMaps
        What attribution maps are computed from: of all slices first, then of the key slices.
    lesion_logits : Tensor, shape (input slices, labels or 1, h, w), or None
        Of every pixel of the crop, without graph; the first label is that of any haemorrhage, which stands alone where
        the network tells no subtype of pixels.
    saliency_logits : Tensor, shape (input slices, 1, h, w), or None
        Of every pixel of the crop, without graph: their softmax over a slice is where a reader is expected to look.
    """

    sub_stack_logits: Tensor
    slice_attention: Tensor
    slice_logits: Tensor
    key_slices: Tensor
    key_slice_logits: Tensor
    feature_attention: Tensor | None = None
    feature_maps: tuple[FeatureMaps, ...] = ()
    lesion_logits: Tensor | None = None
    saliency_logits: Tensor | None = None

    @property
    def merged_slice_logits(self) -> Tensor:
        """Slices' logits (input slices, labels): the mean of both readings where a slice was read twice."""
        merged = self.slice_logits.clone()
        merged[self.key_slices] = (merged[self.key_slices] + self.key_slice_logits) / 2
        return merged

    @property
    def logits(self) -> Tensor:
        """Mean over the sub-stacks, shape (labels,): what Grad-CAM explains."""
        return self.sub_stack_logits.mean(dim=0)

    @property
    def probabilities(self) -> Tensor:
        """Mean of the sub-stacks' probabilities, shape (labels,)."""
        return self.sub_stack_logits.sigmoid().mean(dim=0)

    def detached(self) -> StudyOutput:
        """Return the numbers alone, on the CPU, without feature maps."""
        numbers = {name: value.detach().cpu() for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **numbers, feature_maps=())


class StudyNetwork(nn.Module, ABC):
    """Reads a whole study of any number of input slices.

    Attributes
    ----------
    backbone : Backbone
        Turns slices into feature maps; a :class:`SliceSource` runs it.
    slices : int
        m, the number of input slices of a sub-stack.
    has_slice_classifier : bool
        Whether ``slice_logits`` are learnt ones.
    uses_lesion_scores : bool
        Whether each embedding ends with the slice's lesion scores, see :meth:`embedding`; needs a ``lesion_decoder``.
    """

    # Hidden from torch.jit.script, which reads the annotations of a module's class and knows none of these types.
    if TYPE_CHECKING:
        backbone: Backbone
        slices: int
    has_slice_classifier = False
    uses_lesion_scores = False

    @property
    def embedding_width(self) -> int:
        """Length of an embedding that :meth:`read_study` takes."""
        return self.backbone.channels

    def embed(self, slices: Tensor) -> Tensor:
        """Return the embeddings (slices, width) of windowed slices (slices, 3, height, width)."""
        if not self.uses_lesion_scores:
            return self.backbone.pool(self.backbone(slices))
        levels = self.backbone.levels(slices)
        return self.embedding(self.backbone.pool(levels[-1]), self.get_submodule("lesion_decoder")(levels))

    def embedding(self, features: Tensor, pixel_logits: Tensor) -> Tensor:
        """Return the embeddings (slices, width): pooled features, and lesion scores behind them where they are used.

        Parameters
        ----------
        features : Tensor, shape (slices, channels)
            Pooled by the backbone.
        pixel_logits : Tensor, shape (slices, labels, h, w)
            Of the lesion decoder.
        """
        return torch.cat([features, lesion_scores(pixel_logits)], dim=-1) if self.uses_lesion_scores else features

    @abstractmethod
    def read_study(self, source: SliceSource) -> StudyOutput:
        """Read one study from a source of embeddings of its input slices."""


def evenly_spaced_mm(count: int) -> Tensor:
    """Return positions (count,) in mm of slabs that are as thick as slices are averaged to: about 5 mm."""
    return SLAB_MM * torch.arange(count, dtype=torch.float32)


def merged_pixels(parts: tuple[FeatureMaps, ...], count: int) -> Tensor | None:
    """Merge pixels' logits of several resolutions on the finest: the mean of a slice's, (count, labels, h, w).

    Parameters
    ----------
    parts : tuple of FeatureMaps
        Logits instead of maps; the first part has every input slice.
    count : int
        Number of input slices.
    """
    if not parts:
        return None
    size = max((part.maps.shape[-2:] for part in parts), default=(0, 0))
    total = parts[0].maps.new_zeros(count, parts[0].maps.shape[1], *size)
    readings = total.new_zeros(count)
    for part in parts:
        fine = functional.interpolate(part.maps.detach(), size=size, mode="bilinear", align_corners=False)
        total.index_add_(0, part.input_slices, fine)
        readings.index_add_(0, part.input_slices, readings.new_ones(len(fine)))
    return total / readings[:, None, None, None]


def sum_per_slice(values: Tensor, input_slices: Tensor, count: int) -> Tensor:
    """Add up values (sub-stacks, slices, ...) of the same input slice; return (count, ...).

    Parameters
    ----------
    values : Tensor, shape (sub-stacks, slices, ...)
        One per place in a sub-stack.
    input_slices : Tensor of int64, shape (sub-stacks, slices)
        Which input slice stands there.
    count : int
        Number of input slices.
    """
    total = values.new_zeros(count, *values.shape[2:])
    return total.index_add(0, input_slices.flatten(), values.flatten(0, 1))


def attention_per_slice(attention: Tensor, input_slices: Tensor, count: int) -> Tensor:
    """Return each input slice's attention (count,), summing to 1, however often it stands in a sub-stack.

    A short scan repeats slices, and one a little longer than a sub-stack leaves some out of one: their sum would be
    twice, or half, what they deserve beside their neighbours.

    Parameters
    ----------
    attention : Tensor, shape (sub-stacks, slices)
        Sums to 1 over the slices of each.
    input_slices : Tensor of int64, shape (sub-stacks, slices)
        Which input slice stands there.
    count : int
        Number of input slices.
    """
    mean = mean_per_slice(attention, input_slices, count)
    return mean / mean.sum()


def mean_per_slice(values: Tensor, input_slices: Tensor, count: int) -> Tensor:
    """Average values (sub-stacks, slices, ...) over the places of the same input slice; return (count, ...)."""
    places = torch.bincount(input_slices.flatten(), minlength=count).clamp(min=1)
    total = sum_per_slice(values, input_slices, count)
    return total / places.reshape(-1, *(1 for _ in total.shape[1:]))
