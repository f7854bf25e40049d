"""A network, and one network per fold, read studies in memory by the steps of ``configs/inference.json``.

The same preprocessing, the same pass and the same lesion map as a user's study has; attribution maps only where they
are asked for, because they take longer than the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose, LoadImaged
from numpy.typing import NDArray
from torch import nn

from scripts.cache import weights_key
from scripts.explanation.lesion_volumes import LesionSettings, measure_lesions
from scripts.explanation.lesions import LesionReading, read_lesions
from scripts.explanation.maps import as_stored_map
from scripts.explanation.methods import METHODS
from scripts.inferer import StudyInferer
from scripts.intake.study import CTStudy, NotEvaluableError
from scripts.labels import LESION_GROUPS, TOTAL_GROUP
from scripts.networks.study_network import StudyNetwork, StudyOutput
from scripts.precision import choose_precision
from scripts.reading_geometry import ReadingGeometry
from scripts.transforms import StudyFromImaged
from scripts.weights import load_network

CONFIGURATION = "configs/inference.json"
VOLUME_GROUPS = (TOTAL_GROUP, *(group.key for group in LESION_GROUPS))


@dataclass(frozen=True)
class NetworkReading:
    """What one network computes of one study.

    Attributes
    ----------
    output : StudyOutput
        Of the pass, without its graph.
    geometry : ReadingGeometry
        From input slices to original ones.
    head : ndarray of bool, shape (slices, rows, columns)
        Voxels of the head.
    lesions : LesionReading or None
        Lesion map on the original voxels; None without a lesion decoder.
    volumes_ml : dict
        Group of subtypes to the volume of its mask, 0 where there is none; empty without a lesion decoder. What limits
        are measured from must not be corrected by them.
    largest : dict
        Label that was explained to the largest value of its attribution map, in logits.
    """

    output: StudyOutput
    geometry: ReadingGeometry
    head: NDArray[np.bool_]
    lesions: LesionReading | None
    volumes_ml: dict[str, float]
    largest: dict[str, float] = field(default_factory=dict)

    @property
    def logits(self) -> NDArray[np.float64]:
        """Of the study, before calibration, shape (labels,)."""
        return np.asarray(self.output.probabilities.double().logit(eps=1e-7).numpy(), dtype=np.float64)

    @property
    def slice_attention(self) -> NDArray[np.float64]:
        """Of each original slice; sums to 1."""
        divided = self.geometry.divide_among_original(self.output.slice_attention)
        return np.asarray(divided.double().numpy(), dtype=np.float64)

    @property
    def slice_logits(self) -> NDArray[np.float64]:
        """Of each original slice, shape (slices, labels); a slice of a slab has the slab's."""
        return np.asarray(self.output.merged_slice_logits.double().numpy()[self._input_slice()], dtype=np.float64)

    @property
    def key_slices(self) -> tuple[int, ...]:
        """Middle original slice of each input slice that was read again, the one with most attention first."""
        attention = self.output.slice_attention
        ranked = sorted(self.output.key_slices.tolist(), key=lambda number: -float(attention[number]))
        return tuple(self.geometry.slabs[number][len(self.geometry.slabs[number]) // 2] for number in ranked)

    def _input_slice(self) -> NDArray[np.int64]:
        number = np.zeros(self.geometry.original_shape[0], dtype=np.int64)
        for place, slab in enumerate(self.geometry.slabs):
            number[list(slab)] = place
        return number


class NetworkReader:
    """One network with the settings of the configuration.

    Parameters
    ----------
    model_file : str or None
        Weights, from the bundle's folder; None for random ones.
    overrides : mapping, optional
        Keys of the configuration and their values.
    configuration : str or sequence of str
        Files, later ones laid over earlier ones.
    """

    def __init__(
        self,
        model_file: str | None,
        overrides: Mapping[str, Any] | None = None,
        configuration: str | Sequence[str] = CONFIGURATION,
    ) -> None:
        parser = ConfigParser()
        parser.read_config(configuration)
        parser.update({"model_file": model_file, **(overrides or {})})
        content = parser.get_parsed_content
        self.labels: tuple[str, ...] = content("label_keys")
        self.network: StudyNetwork = load_network(content("network_def"), content("bundle_root"), model_file)
        self.network.to(content("device"))
        self.inferer: StudyInferer = content("inferer")
        self.lesion_settings: LesionSettings = content("reader#lesions")
        steps = content("preprocessing").transforms
        # The study is in memory already.
        self.preprocessing = Compose([step for step in steps if not isinstance(step, LoadImaged | StudyFromImaged)])
        settings = [parser.get(name) for name in ("windows", "image_sizes", "slab_mm", "mirrored_views")]
        self.key = [weights_key(self.network), *settings]
        self.vocabulary = content("labels")

    def read(self, study: CTStudy, explained: Sequence[str] = ()) -> NetworkReading:
        """Read one study.

        Parameters
        ----------
        study : CTStudy
            In memory.
        explained : sequence of str
            Labels whose attribution maps are computed for their largest values; each takes about a second.

        Raises
        ------
        NotEvaluableError
            If there is no head in it.
        """
        inputs = self.inputs(study)
        with_graph = self.pass_with_graph(inputs)
        geometry, head = inputs["geometry"], inputs["head"]
        # A network that computes no feature maps has nothing to explain.
        keys = explained if with_graph.feature_maps else ()
        largest = {key: self._largest(with_graph, self.labels.index(key), inputs) for key in keys}
        output = with_graph.detached()
        lesions = read_lesions(output, geometry, head)
        volumes: dict[str, float] = {}
        if lesions is not None:
            measured = measure_lesions(lesions, study, self.vocabulary, self.lesion_settings)
            nothing = dict.fromkeys(VOLUME_GROUPS, 0.0) if measured.measurable else {}
            volumes = nothing | {each.group: each.mask_ml or 0.0 for each in measured.volumes}
        return NetworkReading(output, geometry, head, lesions, volumes, largest)

    def _largest(self, output: StudyOutput, label: int, inputs: Mapping[str, Any]) -> float:
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            layers = METHODS[self.inferer.method].explain(output, label)
        return float(as_stored_map(inputs["geometry"].resample_back(*layers), inputs["head"]).largest)

    def inputs(self, study: CTStudy) -> dict[str, Any]:
        """Return what :class:`~scripts.inferer.StudyInferer` takes: images, geometry and head.

        Raises
        ------
        NotEvaluableError
            If there is no head in the study.
        """
        try:
            return dict(self.preprocessing({"study": study}))
        except RuntimeError as error:
            # MONAI wraps what a transform raises.
            cause = error.__cause__
            while cause is not None and not isinstance(cause, NotEvaluableError):
                cause = cause.__cause__
            raise cause or error from None

    def pass_with_graph(self, inputs: Mapping[str, Any], network: nn.Module | None = None) -> StudyOutput:
        """Return one pass with the graph that attribution maps are computed from.

        Parameters
        ----------
        inputs : mapping
            From :meth:`inputs`.
        network : nn.Module, optional
            A changed copy of the network, in its place.

        Raises
        ------
        TypeError
            If it reads no studies.
        """
        network = self.network if network is None else network
        if not isinstance(network, StudyNetwork):
            raise TypeError(f"{type(network).__name__} is no StudyNetwork")
        precision = choose_precision(next(network.parameters()).device, self.inferer.precision)
        source = self.inferer.source(inputs, network, precision, lambda *_: None)
        # cuDNN's recurrent layers have no backward pass in evaluation mode.
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            return network.read_study(source)


class FoldReaders:
    """One network per fold, loaded when it is first asked for.

    Parameters
    ----------
    models : str
        Weights of a fold's network, with ``{fold}`` in the place of its number; without it, one network for all.
    overrides : mapping, optional
        Keys of the configuration and their values.
    """

    def __init__(self, models: str, overrides: Mapping[str, Any] | None = None) -> None:
        self.models = models
        self.overrides = overrides
        self._loaded: tuple[str, NetworkReader] | None = None

    def __call__(self, fold: int) -> NetworkReader:
        """Return the reader of a fold: of the network that has not seen its patients."""
        name = self.models.format(fold=fold)
        # One at a time: five networks are no use at once.
        if self._loaded is None or self._loaded[0] != name:
            self._loaded = (name, NetworkReader(name, self.overrides))
        return self._loaded[1]

    @property
    def held_out(self) -> bool:
        """Whether every fold has a network of its own."""
        return self.models != self.models.format(fold=0)

    def missing(self, folds: Iterable[int]) -> list[str]:
        """Return the files that are not there."""
        names = dict.fromkeys(self.models.format(fold=fold) for fold in folds)
        return [name for name in names if not Path(name).is_file()]
