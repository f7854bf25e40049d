"""MONAI transforms that set haemorrhages into head CT: array transform and dictionary wrapper."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from numpy.typing import NDArray

from scripts.intake.study import CTStudy
from scripts.labels import RSNA
from scripts.synthesis.anatomy import HeadAnatomy
from scripts.synthesis.random_synthesis import SynthesisSettings, draw_synthesis
from scripts.synthesis.single_slice import slice_study
from scripts.synthesis.synthesis import Synthesis
from scripts.synthesis.working_grid import SynthesisError

_LABELS = tuple(label.key for label in RSNA)


class SynthesiseHaemorrhage(RandomizableTransform):
    """Sets haemorrhages, and findings that resemble them, into a head CT.

    Parameters
    ----------
    prob : float
        Probability of a haemorrhage.
    subtype_probabilities : mapping of str to float, optional
        Weight of each of RSNA's five subtypes; equal by default.
    volume_ml : (float, float)
        Smallest and largest volume in ml; its logarithm is uniform.
    second : float
        Probability of a second haemorrhage where there is one.
    mimic, artefact : float
        Probability of a mimic and of an artefact, with or without a haemorrhage.
    """

    def __init__(
        self,
        prob: float = 0.5,
        subtype_probabilities: Mapping[str, float] | None = None,
        volume_ml: Sequence[float] = (0.3, 80.0),
        second: float = 0.2,
        mimic: float = 0.35,
        artefact: float = 0.25,
    ) -> None:
        super().__init__(prob)
        low, high = volume_ml
        chosen = {"subtype_probabilities": subtype_probabilities} if subtype_probabilities is not None else {}
        self.settings = SynthesisSettings(
            volume_ml=(float(low), float(high)), second=second, mimic=mimic, artefact=artefact, **chosen
        )
        self.seed = 0

    def randomize(self, data: Any = None) -> None:  # noqa: ANN401 (MONAI's signature)
        """Draw whether there is a haemorrhage, and the seed of everything else."""
        super().randomize(data)
        self.seed = int(self.R.randint(2**31 - 1))

    def __call__(self, study: CTStudy, anatomy: HeadAnatomy | None = None, randomize: bool = True) -> Synthesis:
        """Return the study with what was drawn.

        Raises
        ------
        SynthesisError
            If the host's anatomy cannot be found or has no place for any haemorrhage drawn.
        """
        if randomize:
            self.randomize()
        generator = np.random.default_rng(self.seed)
        return draw_synthesis(study, generator, self.settings, haemorrhage=bool(self._do_transform), anatomy=anatomy)


class SynthesiseHaemorrhaged(MapTransform, RandomizableTransform):
    """Dictionary wrapper of :class:`SynthesiseHaemorrhage`.

    The entry's study is replaced; labels are added to those that it has (blood of the host's own stays labelled), and
    label map and placed lesions are put beside it. A host that cannot be used stays as it is.

    Parameters
    ----------
    keys : KeysCollection
        Key of a :class:`CTStudy`, or of a slice in HU: array or tensor of shape (rows, columns) or (1, rows, columns).
    prob, subtype_probabilities, volume_ml, second, mimic, artefact
        As in :class:`SynthesiseHaemorrhage`.
    labels : sequence of str
        RSNA's label keys in the order of ``labels_key``'s last axis.
    labels_key : str
        float32 (slices, labels); made if the entry has none. A label that was NaN becomes 1 where blood is added.
    label_map_key : str
        uint8 label map, shape of the voxels; 0 outside synthetic blood.
    lesions_key : str
        Tuple of :class:`~scripts.synthesis.lesion.PlacedLesion`.
    anatomy_key : str
        Where the entry holds the host's :class:`HeadAnatomy`, if it does.
    pixel_mm : float
        Spacing of slices that come as arrays.
    allow_missing_keys : bool
        As in MONAI.
    """

    def __init__(  # noqa: PLR0913 (what can be set, and where the entry holds it)
        self,
        keys: KeysCollection,
        prob: float = 0.5,
        subtype_probabilities: Mapping[str, float] | None = None,
        volume_ml: Sequence[float] = (0.3, 80.0),
        second: float = 0.2,
        mimic: float = 0.35,
        artefact: float = 0.25,
        *,
        labels: Sequence[str] = _LABELS,
        labels_key: str = "slice_labels",
        label_map_key: str = "label_map",
        lesions_key: str = "lesions",
        anatomy_key: str = "anatomy",
        pixel_mm: float = 0.65,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, 1.0)
        self.synthesise = SynthesiseHaemorrhage(prob, subtype_probabilities, volume_ml, second, mimic, artefact)
        self.labels = tuple(labels)
        self.labels_key = labels_key
        self.label_map_key = label_map_key
        self.lesions_key = lesions_key
        self.anatomy_key = anatomy_key
        self.pixel_mm = pixel_mm

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> SynthesiseHaemorrhaged:
        """Set the random state of this transform and of the array transform in it."""
        super().set_random_state(seed, state)
        self.synthesise.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the study and add labels, label map and lesions."""
        entry = dict(data)
        for key in self.key_iterator(entry):
            value = entry[key]
            study = value if isinstance(value, CTStudy) else slice_study(_plane(value), self.pixel_mm)
            self.synthesise.randomize()
            try:
                made = self.synthesise(study, entry.get(self.anatomy_key), randomize=False)
            except SynthesisError:
                made = Synthesis(study, np.zeros(study.voxels.shape, dtype=np.uint8), ())
            entry[key] = made.study if isinstance(value, CTStudy) else _like(value, made, study)
            entry[self.labels_key] = self._combined(entry.get(self.labels_key), made)
            entry[self.label_map_key] = made.label_map
            entry[self.lesions_key] = made.lesions
        return entry

    def _combined(self, before: Any, made: Synthesis) -> Any:  # noqa: ANN401 (array or tensor, as it came)
        added = np.stack([made.slice_labels[key] for key in self.labels], axis=1)
        if before is None:
            return added.astype(np.float32)
        array = np.asarray(before, dtype=np.float32)
        together = np.where(added, np.float32(1.0), array.reshape(added.shape)).reshape(array.shape)
        return torch.from_numpy(together) if isinstance(before, torch.Tensor) else together


def _plane(value: Any) -> NDArray[np.float32]:  # noqa: ANN401 (array or tensor)
    array = np.asarray(value, dtype=np.float32)
    return array[0] if array.ndim == 3 and len(array) == 1 else array


def _like(value: Any, made: Synthesis, host: CTStudy) -> Any:  # noqa: ANN401 (array or tensor, as it came)
    """Slice in the type and shape of the one that came; what was not changed keeps its fractions of a HU."""
    before = np.asarray(value, dtype=np.float32)
    changed = (made.study.voxels != host.voxels).reshape(before.shape)
    plane = np.where(changed, made.study.voxels.reshape(before.shape).astype(np.float32), before)
    return torch.from_numpy(plane) if isinstance(value, torch.Tensor) else plane
