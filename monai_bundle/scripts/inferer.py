"""Reads one study: every slice once through the backbone, the heads over samples of m, one map per label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_tensor
from torch import Tensor
from torch.nn import functional

from scripts.explanation import (
    METHODS,
    FeatureMaps,
    Method,
    StoredMap,
    as_stored_map,
    feature_attention_map,
    label_layers,
    slices_say,
)
from scripts.networks.backbone import pool
from scripts.networks.drct import DrCT1, DrCT2, Reading
from scripts.precision import Precision, PrecisionName, choose_precision, fastest_layout
from scripts.reading_geometry import ReadingGeometry, sub_stacks
from scripts.settings import SettingError

Report = Callable[[str, float], None]


@dataclass(frozen=True)
class StudyReading:
    """What the network says of one study.

    Attributes
    ----------
    probabilities : Tensor, shape (labels,)
        Mean over the samples.
    slice_attention : Tensor, shape (read slices,)
        Sums to 1.
    label_maps : tuple of StoredMap
        One per label, on the stored voxels; the scale is in logits.
    feature_attention : StoredMap or None
        Attended activation on the stored voxels, if asked for.
    precision : str
        Number format of the backbone, e.g. ``"bfloat16"``.
    """

    probabilities: Tensor
    slice_attention: Tensor
    label_maps: tuple[StoredMap, ...]
    feature_attention: StoredMap | None
    precision: str


class StudyInferer(Inferer):
    """Runs DrCT1 or DrCT2 over a study of any number of read slices.

    Parameters
    ----------
    precision : {"auto", "bfloat16", "float16", "float32"}
        Number format of the backbone.
    method : {"gradcam", "gradcam++", "slice_gradcam"}
        How labels are explained; see :mod:`scripts.explanation`.
    micro_batch, high_res_micro_batch : int
        Slices at once in the backbone, at the picture's size and at the zoomed size; bounds the peak memory.
    with_feature_attention : bool
        Whether to make the map of feature attention too.
    """

    def __init__(
        self,
        precision: PrecisionName = "auto",
        method: Method = "gradcam",
        micro_batch: int = 8,
        high_res_micro_batch: int = 2,
        with_feature_attention: bool = True,
    ) -> None:
        super().__init__()
        self.precision: PrecisionName = precision
        self.method: Method = method
        self.micro_batch = micro_batch
        self.high_res_micro_batch = high_res_micro_batch
        self.with_feature_attention = with_feature_attention

    def __call__(  # type: ignore[override]  # MONAI's inferers take one tensor; a study is more
        self, inputs: dict[str, Any], network: DrCT1, *args: Any, **kwargs: Any
    ) -> StudyReading:
        """Read one study.

        Parameters
        ----------
        inputs : dict
            ``image``: Tensor (3, read slices, 224, 224); ``high_res``: the same slices at 512, or absent to enlarge
            ``image``; ``geometry``: :class:`ReadingGeometry`; ``head``: mask of the stored voxels in the head.
        network : DrCT1 or DrCT2
            In evaluation mode, on the device to use.
        *args, **kwargs
            ``report``: called with a stage and a percentage.

        Raises
        ------
        SettingError
            If the method or the precision is unknown, or the network's slices say nothing by themselves.
        """
        report: Report = kwargs.get("report", _silent)
        if self.method not in METHODS:
            raise SettingError(f"explanation_method must be one of {', '.join(METHODS)}, not {self.method!r}")
        if self.method == "slice_gradcam" and not network.heads.evidence:
            raise SettingError("explanation_method slice_gradcam needs weights trained on slice labels; choose gradcam")
        # cuDNN's recurrent layers have no backward pass in evaluation mode; the backbone turns cuDNN on for itself.
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            return self._read(inputs, network, report)

    def _read(self, inputs: dict[str, Any], network: DrCT1, report: Report) -> StudyReading:
        device = next(network.parameters()).device
        reader = _SliceReader(network, choose_precision(device, self.precision), device)
        # Plain tensors: the metadata that MONAI's carry is looked after in every operation.
        pictures = {key: convert_to_tensor(inputs[key]).movedim(0, 1) for key in ("image", "high_res") if key in inputs}
        image, geometry = pictures["image"], inputs["geometry"]
        all_slices = reader.read(image, self.micro_batch, lambda done: report("slices", 20 + 20 * done))
        samples = torch.from_numpy(sub_stacks(len(image), network.slices)).to(device)
        readings = [all_slices]

        def high_res_features(positions: Tensor) -> Tensor:
            wanted, inverse = samples.gather(1, positions).unique(return_inverse=True)
            zoomed = pictures["high_res"][wanted.cpu()] if "high_res" in pictures else reader.enlarge(image, wanted)
            key_slices = reader.read(
                zoomed, self.high_res_micro_batch, lambda done: report("key slices", 40 + 40 * done)
            )
            readings.append(FeatureMaps(key_slices.maps, wanted))
            return pool(key_slices.maps)[inverse]

        reading = network.read(pool(all_slices.maps)[samples], high_res_features)
        report("explanation", 80)
        explained = self._explained(reading, samples)
        labels = [label_layers(number, readings, len(image), self.method) for number in explained]
        maps = []
        for number, layers in enumerate(labels):
            report("maps", 82 + 8 * number / len(labels))
            # One volume of float32 at a time: thin slices make it large.
            maps.append(as_stored_map(geometry.to_stored(*layers), inputs["head"]))
        attended = self._feature_attention(reading.feature_attention, samples, all_slices, geometry)
        return StudyReading(
            probabilities=reading.logits.detach().sigmoid().mean(dim=0).cpu(),
            slice_attention=_per_read_slice(reading.slice_attention, samples, len(image)).cpu(),
            label_maps=tuple(maps),
            feature_attention=None if attended is None else as_stored_map(attended, inputs["head"]),
            precision=reader.precision.name,
        )

    def _explained(self, reading: Reading, samples: Tensor) -> Tensor:
        """Return the number of each label, shape (labels,), whose Grad-CAM is made."""
        if self.method != "slice_gradcam":
            return reading.logits.mean(dim=0)
        said = slices_say(reading.slice_logits, _times_read(samples))
        if reading.key_slices.shape[1] == 0:
            return said
        return said + slices_say(reading.key_slice_logits, _times_read(samples.gather(1, reading.key_slices)))

    def _feature_attention(
        self, weights: Tensor, samples: Tensor, all_slices: FeatureMaps, geometry: ReadingGeometry
    ) -> Tensor | None:
        if not self.with_feature_attention:
            return None
        # A read slice has the same weights in every sample that holds it: any of them will do.
        of_read = weights.detach().new_zeros(len(all_slices.maps), weights.shape[-1])
        of_read[samples.flatten()] = weights.detach().flatten(0, 1)
        return feature_attention_map(all_slices, of_read, geometry)


@dataclass(frozen=True)
class _SliceReader:
    """The backbone in its fastest form on one device."""

    network: DrCT1
    precision: Precision
    device: torch.device

    def read(self, slices: Tensor, micro_batch: int, report: Callable[[float], None]) -> FeatureMaps:
        """Return feature maps in float32, as a leaf of the heads' graph, of slices (n, 3, size, size)."""
        backbone = fastest_layout(self.network.backbone)
        maps: list[Tensor] = []
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True), self.precision.autocast():
            for batch in slices.split(micro_batch):
                report(len(maps) * micro_batch / len(slices))
                on_device = batch.to(self.device).contiguous(memory_format=torch.channels_last)
                maps.append(backbone(on_device).float())
        return FeatureMaps(torch.cat(maps).requires_grad_(), torch.arange(len(slices), device=self.device))

    def enlarge(self, image: Tensor, wanted: Tensor) -> Tensor:
        """Enlarge the wanted slices of the picture (eq. 8)."""
        if not isinstance(self.network, DrCT2):
            raise TypeError("only DrCT2 reads key slices again")
        size = (self.network.high_res_size, self.network.high_res_size)
        return functional.interpolate(image[wanted.to(image.device)], size=size, mode="bilinear")


def _times_read(read_slices: Tensor) -> Tensor:
    """Return how many times each entry of (samples, slices) occurs in all of them."""
    _, inverse, counts = read_slices.unique(return_inverse=True, return_counts=True)
    return counts[inverse]


def _per_read_slice(slice_attention: Tensor, samples: Tensor, read_slices: int) -> Tensor:
    """Add up the attention (samples, m) of each read slice; every sample counts the same."""
    total = slice_attention.new_zeros(read_slices)
    return total.index_add(0, samples.flatten(), slice_attention.flatten()).detach() / len(samples)


def _silent(stage: str, percent: float) -> None:
    """Report to nobody."""
