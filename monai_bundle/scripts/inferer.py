"""Reads and explains one study: every slice once through the backbone, the network's one pass, one map per label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_tensor
from torch import Tensor
from torch.nn import functional

from scripts.explanation.lesions import LesionReading, read_lesions
from scripts.explanation.maps import StoredMap, as_stored_map, feature_attention_map
from scripts.explanation.methods import METHODS
from scripts.explanation.saliency import saliency_map
from scripts.networks.backbone import Backbone
from scripts.networks.study_network import FeatureMaps, StudyNetwork, evenly_spaced_mm
from scripts.precision import Precision, PrecisionName, choose_precision, fastest_layout
from scripts.settings import SettingError

Report = Callable[[str, float], None]
Decoder = Callable[[Sequence[Tensor]], Tensor]
"""Maps of :meth:`~scripts.networks.backbone.Backbone.levels` -> logits (slices, labels or 1, h, w) of pixels."""


@dataclass(frozen=True)
class StudyReading:
    """What the network computes of one study, and where its evidence lies.

    Attributes
    ----------
    probabilities : Tensor, shape (labels,)
        Mean over the sub-stacks.
    slice_attention : Tensor, shape (input slices,)
        Sums to 1.
    label_maps : tuple of StoredMap
        One per label, on the original voxels; the scale is in logits.
    feature_attention : StoredMap or None
        Attended activation on the original voxels, if asked for.
    precision : str
        Number format of the backbone, e.g. ``"bfloat16"``.
    lesions : LesionReading or None
        Lesion map on the original voxels; None where the network has no lesion decoder.
    saliency : StoredMap or None
        Where a reader is expected to look, on the original voxels; None where the network does not predict it.
    mirrored_views : bool
        Whether slices were read a second time, left and right exchanged.
    slice_probabilities : Tensor or None, shape (input slices, labels)
        Of the slice classifier, of both readings where a slice was read twice, not calibrated; None where the network
        has no slice classifier.
    """

    probabilities: Tensor
    slice_attention: Tensor
    label_maps: tuple[StoredMap, ...]
    feature_attention: StoredMap | None
    precision: str
    lesions: LesionReading | None = None
    saliency: StoredMap | None = None
    mirrored_views: bool = False
    slice_probabilities: Tensor | None = None


class ImageSource:
    """Computes embeddings of a study's images by the backbone in its fastest form; keeps the feature maps.

    A :class:`~scripts.networks.study_network.SliceSource`. Feature maps are leaves of the heads' graph.

    Parameters
    ----------
    images : mapping of str to Tensor
        ``image``: shape (channels, input slices, size, size); ``high_res``: the same slices at high resolution, or
        absent to enlarge ``image`` (DrCT2, eq. 8); ``geometry``: where the slices lie, or absent for even distances.
    network : StudyNetwork
        On the device to use: its backbone and, where it has them, its decoders of lesions and of saliency.
    precision : Precision
        Number format of the backbone; embeddings are float32.
    micro_batch, high_res_micro_batch : int
        Slices at once in the backbone, at either size.
    report : callable
        Called with a stage and a percentage.
    mirrored_views : bool
        Whether every slice is read a second time, left and right exchanged: embeddings and lesion logits are the mean
        of both, and there are feature maps of both.
    """

    def __init__(
        self,
        images: Mapping[str, Any],
        network: StudyNetwork,
        precision: Precision,
        micro_batch: int,
        high_res_micro_batch: int,
        report: Report,
        mirrored_views: bool = False,
    ) -> None:
        # Plain tensors: the metadata that MONAI's carry is updated in every operation.
        self.images = {
            key: convert_to_tensor(images[key]).movedim(0, 1) for key in ("image", "high_res") if key in images
        }
        self.positions: tuple[float, ...] = getattr(images.get("geometry"), "positions_mm", ())
        fastest_layout(network.backbone)
        self.network = network
        self.backbone: Backbone = network.backbone
        decoders = {name: getattr(network, name, None) for name in ("lesion_decoder", "saliency_decoder")}
        self.decoders: dict[str, Decoder] = {name: each for name, each in decoders.items() if each is not None}
        self.device = next(network.backbone.parameters()).device
        self.precision = precision
        self.micro_batch, self.high_res_micro_batch = micro_batch, high_res_micro_batch
        self.report = report
        self.views = (False, True) if mirrored_views else (False,)
        self.maps: list[FeatureMaps] = []
        self.pixels: dict[str, list[FeatureMaps]] = {name: [] for name in decoders}

    def embeddings(self) -> Tensor:
        """Return the embeddings (input slices, channels) of all slices at the image size."""
        image = self.images["image"]
        everything = torch.arange(len(image), device=self.device)
        return self._read(image, everything, self.micro_batch, lambda done: self.report("slices", 20 + 20 * done))

    def high_resolution(self, input_slices: Tensor, size: int) -> Tensor:
        """Return the embeddings (n, channels) of chosen slices at high resolution."""
        chosen = input_slices.cpu()
        if "high_res" in self.images:
            images = self.images["high_res"][chosen]
        else:
            images = functional.interpolate(self.images["image"][chosen], size=(size, size), mode="bilinear")
        size_of_batch = self.high_res_micro_batch
        return self._read(images, input_slices, size_of_batch, lambda done: self.report("key slices", 40 + 40 * done))

    def positions_mm(self) -> Tensor:
        """Return where the input slices lie (mm); at even distances where the geometry does not say."""
        count = self.images["image"].shape[0]
        known = torch.tensor(self.positions) if len(self.positions) == count else evenly_spaced_mm(count)
        return known.to(self.device)

    def feature_maps(self) -> tuple[FeatureMaps, ...]:
        """Return the feature maps of everything that was read so far."""
        return tuple(self.maps)

    def lesion_logits(self) -> tuple[FeatureMaps, ...]:
        """Return the lesion decoder's logits of everything that was read so far."""
        return tuple(self.pixels["lesion_decoder"])

    def saliency_logits(self) -> tuple[FeatureMaps, ...]:
        """Return the saliency decoder's logits of everything that was read so far."""
        return tuple(self.pixels["saliency_decoder"])

    def _read(self, images: Tensor, input_slices: Tensor, micro_batch: int, report: Callable[[float], None]) -> Tensor:
        micro_batch = slices_at_once(self.device, micro_batch, len(images))
        maps: list[list[Tensor]] = [[] for _ in self.views]
        pixels: dict[str, list[Tensor]] = {name: [] for name in self.decoders}
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True), self.precision.autocast():
            for batch in images.split(micro_batch):
                report(len(maps[0]) * micro_batch / len(images))
                on_device = batch.to(self.device)
                views = [self._view(on_device, mirrored) for mirrored in self.views]
                for of_view, (seen, _) in zip(maps, views, strict=True):
                    of_view.append(seen)
                for name, of_decoder in pixels.items():
                    of_decoder.append(torch.stack([decoded[name] for _, decoded in views]).mean(dim=0))
        merged = {name: torch.cat(of_decoder) for name, of_decoder in pixels.items()}
        for name, logits in merged.items():
            self.pixels[name].append(FeatureMaps(logits, input_slices))
        read = [FeatureMaps(torch.cat(of_view).requires_grad_(), input_slices) for of_view in maps]
        self.maps += read
        features = torch.stack([self.backbone.pool(each.maps) for each in read]).mean(dim=0)
        return (
            self.network.embedding(features, merged["lesion_decoder"]) if self.network.uses_lesion_scores else features
        )

    def _view(self, batch: Tensor, mirrored: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Return feature maps and each decoder's logits of one view, all as the slices lie."""
        shown = (batch.flip(-1) if mirrored else batch).contiguous(memory_format=torch.channels_last)
        if not self.decoders:
            found, decoded = self.backbone(shown).float(), {}
        else:
            levels = self.backbone.levels(shown)
            found = levels[-1].float()
            decoded = {name: decoder(levels).float() for name, decoder in self.decoders.items()}
        if mirrored:
            found, decoded = found.flip(-1), {name: logits.flip(-1) for name, logits in decoded.items()}
        return found, decoded


def slices_at_once(device: torch.device, micro_batch: int, count: int) -> int:
    """Return how many of a study's slices the backbone reads at once: all on a GPU, which is idle with fewer."""
    return count if device.type == "cuda" else micro_batch


class StudyInferer(Inferer):
    """Runs a network over a study of any number of input slices.

    Parameters
    ----------
    precision : {"auto", "bfloat16", "float16", "float32"}
        Number format of the backbone.
    method : str
        How labels are explained: a name of :data:`scripts.explanation.methods.METHODS`.
    micro_batch, high_res_micro_batch : int
        Slices at once in the backbone, at the image size and at the high-resolution size; bounds the peak memory. On
        CUDA all slices of a size are read at once; this was never run on a GPU.
    write_feature_attention : bool
        Whether to compute the map of feature attention too.
    attribution_scale : float or None
        Value in logits that 255 stands for in the maps of labels; None gives each map its own scale.
    mirrored_views : bool
        Whether slices are read a second time, left and right exchanged; see :class:`ImageSource`.
    """

    def __init__(
        self,
        precision: PrecisionName = "auto",
        method: str = "gradcam",
        micro_batch: int = 8,
        high_res_micro_batch: int = 2,
        write_feature_attention: bool = False,
        attribution_scale: float | None = None,
        mirrored_views: bool = False,
    ) -> None:
        super().__init__()
        self.precision: PrecisionName = precision
        self.method = method
        self.micro_batch = micro_batch
        self.high_res_micro_batch = high_res_micro_batch
        self.write_feature_attention = write_feature_attention
        self.attribution_scale = attribution_scale
        self.mirrored_views = mirrored_views

    def __call__(  # type: ignore[override]  # MONAI's inferers take one tensor; a study is more
        self, inputs: dict[str, Any], network: StudyNetwork, *args: Any, **kwargs: Any
    ) -> StudyReading:
        """Read and explain one study.

        Parameters
        ----------
        inputs : dict
            ``image``: Tensor (3, input slices, size, size); ``high_res``: the same slices at high resolution, or absent
            to enlarge ``image``; ``geometry``: :class:`~scripts.reading_geometry.ReadingGeometry`; ``head``: mask of
            the original voxels in the head.
        network : StudyNetwork
            In evaluation mode, on the device to use.
        *args, **kwargs
            ``report``: called with a stage and a percentage.

        Raises
        ------
        SettingError
            If the method or the precision is unknown, or the method needs a slice classifier that is not there.
        """
        report: Report = kwargs.get("report", _silent)
        if self.method not in METHODS:
            raise SettingError("settings.explanation_method", known=", ".join(METHODS), name=self.method)
        if METHODS[self.method].needs_slice_classifier and not network.has_slice_classifier:
            raise SettingError("settings.no_slice_classifier", name=self.method)
        # cuDNN's recurrent layers have no backward pass in evaluation mode; the backbone turns cuDNN on for itself.
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            return self._read(inputs, network, report)

    def source(
        self, inputs: Mapping[str, Any], network: StudyNetwork, precision: Precision, report: Report
    ) -> ImageSource:
        """Return what gives the embeddings of one study's slices."""
        batches = self.micro_batch, self.high_res_micro_batch
        return ImageSource(inputs, network, precision, *batches, report, self.mirrored_views)

    def _read(self, inputs: dict[str, Any], network: StudyNetwork, report: Report) -> StudyReading:
        precision = choose_precision(next(network.parameters()).device, self.precision)
        source = self.source(inputs, network, precision, report)
        output = network.read_study(source)
        report("explanation", 80)
        explain, labels = METHODS[self.method].explain, len(output.logits)
        layers = [explain(output, label) for label in range(labels)]
        maps = []
        for label in range(labels):
            report("maps", 82 + 8 * label / labels)
            # One volume of float32 at a time: thin slices make it large.
            values = inputs["geometry"].resample_back(*layers[label])
            maps.append(as_stored_map(values, inputs["head"], self.attribution_scale))
        attended = None
        if self.write_feature_attention and output.feature_attention is not None:
            attended = as_stored_map(feature_attention_map(output, inputs["geometry"]), inputs["head"])
        looks = saliency_map(output, inputs["geometry"])
        of_slices = output.merged_slice_logits.sigmoid().detach().cpu() if network.has_slice_classifier else None
        return StudyReading(
            probabilities=output.probabilities.detach().cpu(),
            slice_attention=output.slice_attention.detach().cpu(),
            label_maps=tuple(maps),
            feature_attention=attended,
            precision=precision.name,
            lesions=read_lesions(output, inputs["geometry"], inputs["head"]),
            saliency=None if looks is None else as_stored_map(looks, inputs["head"]),
            mirrored_views=self.mirrored_views,
            slice_probabilities=of_slices,
        )


def _silent(stage: str, percent: float) -> None:
    """Report to nobody."""
