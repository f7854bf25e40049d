"""The plain way to read and explain a study: what a straightforward user of MONAI would write.

float32, torch's default memory layout, a whole sample at once, the network's own way from windowed slices to logits,
and one :class:`monai.visualize.GradCAM` per label, which runs the whole network forwards and backwards each time.
"""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_tensor
from monai.visualize import GradCAM
from monai.visualize.visualizer import default_upsampler
from torch import Tensor, nn

from scripts.explanation import Method, as_stored_map
from scripts.inferer import Report, StudyReading
from scripts.networks.backbone import pool
from scripts.networks.drct import DrCT1
from scripts.reading_geometry import sub_stacks


class WithTargetLayer(nn.Module):
    """The network with a layer for Grad-CAM's hooks: the feature maps of all slices at the picture's size.

    The backbone's own layers cannot serve: DrCT2 runs them twice, and hooks would pair the activations of one reading
    with the gradients of the other. Only the reading of all slices is explained; the key slices' maps would take a
    second run per label.
    """

    def __init__(self, network: DrCT1) -> None:
        super().__init__()
        self.network = network
        self.maps = nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, labels) for windowed slices (batch, 3, m, height, width)."""
        maps: Tensor = self.maps(self.network.backbone(image.movedim(1, 2).flatten(0, 1)))
        features = pool(maps).unflatten(0, (image.shape[0], image.shape[2]))
        return self.network.read(features, self.network.high_res_source(image)).logits


class PlainInferer(Inferer):
    """Reads one study, as :class:`~scripts.inferer.StudyInferer` does, the plain way.

    Parameters
    ----------
    explained_labels : int or None
        Explain only that many labels; the others repeat their maps, so that whatever follows has its usual work. None
        explains all.
    """

    method: Method = "gradcam"

    def __init__(self, explained_labels: int | None = None) -> None:
        super().__init__()
        self.explained_labels = explained_labels

    def __call__(  # type: ignore[override]  # MONAI's inferers take one tensor; a study is more
        self, inputs: dict[str, Any], network: DrCT1, *args: Any, **kwargs: Any
    ) -> StudyReading:
        """Read one study.

        Parameters
        ----------
        inputs : dict
            ``image``: Tensor (3, read slices, 224, 224); ``geometry``; ``head``.
        network : DrCT1 or DrCT2
            In evaluation mode, its backbone not frozen: GradCAM's hooks need gradients there.
        *args, **kwargs
            ``report``: called with a stage and a percentage.
        """
        report: Report = kwargs["report"]
        image = convert_to_tensor(inputs["image"]).to(next(network.parameters()).device)
        samples = torch.from_numpy(sub_stacks(image.shape[1], network.slices)).to(image.device)
        report("network", 20)
        with torch.no_grad():
            pictures = [image[:, sample][None] for sample in samples]
            readings = [
                network.read(network.features_of(picture), network.high_res_source(picture)) for picture in pictures
            ]
        logits = torch.cat([reading.logits for reading in readings])
        attention = torch.cat([reading.slice_attention for reading in readings])
        layers = self.layers(image, samples, network, report, logits.shape[1])
        maps = []
        for label in range(logits.shape[1]):
            report("maps", 90)
            maps.append(as_stored_map(inputs["geometry"].to_stored(layers[label % len(layers)]), inputs["head"]))
        return StudyReading(
            probabilities=logits.sigmoid().mean(dim=0).cpu(),
            slice_attention=_mean_over_samples(attention, samples, image.shape[1]).cpu(),
            label_maps=tuple(maps),
            feature_attention=None,
            precision="float32",
        )

    def layers(self, image: Tensor, samples: Tensor, network: DrCT1, report: Report, labels: int) -> list[Tensor]:
        """Return one map (read slices, 224, 224) per explained label, positive evidence only.

        Parameters
        ----------
        image : Tensor, shape (3, read slices, 224, 224)
            Windowed slices.
        samples : Tensor of int64, shape (samples, m)
            Which slices each sample takes.
        network, report
            As for :meth:`__call__`.
        labels : int
            How many labels the network has.
        """
        explained = min(labels, self.explained_labels or labels)
        gradcam = GradCAM(
            WithTargetLayer(network),
            target_layers="maps",
            # Maps have no slice axis: it became their batch.
            upsampler=lambda size: default_upsampler(size[1:]),
            # MONAI's own would turn the map upside down and stretch each slice by itself.
            postprocessing=lambda values: values,
        )
        layers = []
        # cuDNN's recurrent layers have no backward pass in evaluation mode.
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            for label in range(explained):
                report("explanation", 30 + 60 * label / explained)
                maps = [gradcam(image[:, sample][None], class_idx=label)[:, 0].detach() for sample in samples]
                layers.append(_mean_over_samples(torch.stack(maps), samples, image.shape[1]))
        return layers


def _mean_over_samples(values: Tensor, samples: Tensor, read_slices: int) -> Tensor:
    """Add up what each read slice got, shape (samples, m, ...), and divide by the number of samples."""
    total = values.new_zeros(read_slices, *values.shape[2:])
    return total.index_add(0, samples.flatten(), values.flatten(0, 1)) / len(samples)
