"""The reference implementation: how a straightforward user of MONAI would read and explain a study.

float32, torch's default memory layout, all slices at once, and one :class:`monai.visualize.GradCAM` per label, which
runs the whole network forwards and backwards each time. What is not compared is shared: the network's own reading of a
study, and the way of the maps to the original voxels.
"""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_tensor
from monai.visualize import GradCAM
from monai.visualize.visualizer import default_upsampler
from torch import Tensor, nn
from torch.nn import functional

from scripts.explanation.maps import as_stored_map
from scripts.inferer import Report, StudyReading
from scripts.networks.backbone import Backbone, pool
from scripts.networks.drct import DrCT1
from scripts.networks.study_network import FeatureMaps, evenly_spaced_mm, sum_per_slice
from scripts.reading_geometry import sub_stacks


class WholeImages:
    """Computes embeddings of images (input slices, 3, size, size), as many at once as there are.

    A :class:`~scripts.networks.study_network.SliceSource`; key slices are enlarged.
    """

    def __init__(self, images: Tensor, backbone: Backbone) -> None:
        self.images = images
        self.backbone = backbone

    def embeddings(self) -> Tensor:
        """Return the embeddings (input slices, channels) of all slices."""
        return pool(self.backbone(self.images))

    def high_resolution(self, input_slices: Tensor, size: int) -> Tensor:
        """Return the embeddings (n, channels) of chosen slices, enlarged."""
        enlarged = functional.interpolate(self.images[input_slices], size=(size, size), mode="bilinear")
        return pool(self.backbone(enlarged))

    def positions_mm(self) -> Tensor:
        """Return even positions: images have none."""
        return evenly_spaced_mm(len(self.images))

    def feature_maps(self) -> tuple[FeatureMaps, ...]:
        """Return nothing: Grad-CAM's hooks find the maps themselves."""
        return ()

    def lesion_logits(self) -> tuple[FeatureMaps, ...]:
        """Return nothing: the plain path has embeddings alone."""
        return ()

    def saliency_logits(self) -> tuple[FeatureMaps, ...]:
        """Return nothing: the plain path has embeddings alone."""
        return ()


class WithTargetLayer(nn.Module):
    """The network with a layer for Grad-CAM's hooks: the feature maps of all slices at the image size.

    The backbone's own layers cannot serve: DrCT2 runs them twice, and hooks would pair the activations of one reading
    with the gradients of the other. Only the reading of all slices is explained; the key slices' maps would take
    a second run per label.
    """

    def __init__(self, network: DrCT1) -> None:
        super().__init__()
        self.network = network
        self.maps = nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, labels) for windowed slices (batch, 3, m, height, width)."""
        maps: Tensor = self.maps(self.network.backbone(image.movedim(1, 2).flatten(0, 1)))
        features = pool(maps).unflatten(0, (image.shape[0], image.shape[2]))
        return self.network.read(features, self.network.high_resolution_of(image)).logits


class ReferenceInferer(Inferer):
    """Reads one study as :class:`~scripts.inferer.StudyInferer` does, by the reference implementation.

    Parameters
    ----------
    explained_labels : int or None
        Explain only that many labels; the others repeat their maps, so that whatever follows has its usual work. None
        explains all.
    """

    method = "gradcam"

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
            ``image``: Tensor (3, input slices, 224, 224); ``geometry``; ``head``.
        network : DrCT1 or DrCT2
            In evaluation mode, its backbone not frozen: GradCAM's hooks need gradients there.
        *args, **kwargs
            ``report``: called with a stage and a percentage.
        """
        report: Report = kwargs["report"]
        image = convert_to_tensor(inputs["image"]).to(next(network.parameters()).device)
        report("network", 20)
        with torch.no_grad():
            output = network.read_study(WholeImages(image.movedim(0, 1), network.backbone)).detached()
        labels = len(output.logits)
        layers = self.layers(image, network, report, labels)
        maps = []
        for label in range(labels):
            report("maps", 90)
            original = inputs["geometry"].resample_back(layers[label % len(layers)])
            maps.append(as_stored_map(original, inputs["head"]))
        return StudyReading(output.probabilities, output.slice_attention, tuple(maps), None, "float32")

    def layers(self, image: Tensor, network: DrCT1, report: Report, labels: int) -> list[Tensor]:
        """Return one map (input slices, 224, 224) per explained label, positive evidence only.

        Parameters
        ----------
        image : Tensor, shape (3, input slices, 224, 224)
            Windowed slices.
        network, report
            As for :meth:`__call__`.
        labels : int
            How many labels the network has.
        """
        explained = min(labels, self.explained_labels or labels)
        stacks = torch.from_numpy(sub_stacks(image.shape[1], network.slices)).to(image.device)
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
                maps = [gradcam(image[:, stack][None], class_idx=label)[:, 0].detach() for stack in stacks]
                layers.append(sum_per_slice(torch.stack(maps), stacks, image.shape[1]) / len(stacks))
        return layers
