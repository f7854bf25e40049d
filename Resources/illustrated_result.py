"""A result folder that illustrates the panel: the phantom with evidence drawn from its known haemorrhages.

No network speaks in it, and it says so wherever a model is named. The bundle's own writer writes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.ndimage import label as label_parts

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "monai_bundle"))

from scripts.diagnosis import Diagnosis, EvidenceMap, Finding, ModelIdentity, SliceEvidence
from scripts.intake.volume_file import read_nifti
from scripts.labels import RSNA
from scripts.output.result import write_result_folder

NOTICE = "Illustration on a phantom: probabilities and evidence are drawn from its known haemorrhages, not by a network"
PROBABILITIES = {"any": 0.93, "intraparenchymal": 0.88, "subdural": 0.71, "subarachnoid": 0.22, "epidural": 0.09}
KEY_SLICES = 5
SPREAD_VOXELS = (0.6, 14, 14)
"""Of the evidence around a haemorrhage: as coarse within a slice as a Grad-CAM is."""


def write_illustration(phantom: Path, output: Path) -> Path:
    """Write the result folder.

    Parameters
    ----------
    phantom : Path
        Folder with ``ct.nii.gz`` and ``truth_<kind>.nii.gz``.
    output : Path
        Where the result folder is made.

    Returns
    -------
    Path
        The result folder.
    """
    study = read_nifti(phantom / "ct.nii.gz")
    truths = {
        path.name.removeprefix("truth_").removesuffix(".nii.gz"): _stored(path, study.voxels.shape)
        for path in sorted(phantom.glob("truth_*.nii.gz"))
    }
    blood = np.any(list(truths.values()), axis=0)
    head = _largest(study.voxels > -200)
    attention = np.exp(4 * blood.sum(axis=(1, 2)) / blood.sum(axis=(1, 2)).max())
    attention /= attention.sum()
    ranks = {int(index): rank for rank, index in enumerate(np.argsort(-attention)[:KEY_SLICES], start=1)}
    shares = np.rint(255 * attention / attention.max())
    maps = [EvidenceMap("attention", None, (head * shares[:, None, None]).astype(np.uint8), float(attention.max()))]
    for label in RSNA:
        source = blood if label.key == "any" else truths.get(label.key)
        maps.append(EvidenceMap("gradcam", label, _heat(source, head), 1.0))
    model = ModelIdentity(
        "Illustration", "0", "no network", {"none": "0" * 64}, tuple(label.key for label in RSNA), NOTICE
    )
    diagnosis = Diagnosis(
        study_id="illustration",
        study=study,
        head=head,
        findings=tuple(Finding(label, PROBABILITIES.get(label.key, 0.03), 0.5) for label in RSNA),
        slices=tuple(
            SliceEvidence(index, float(position), float(attention[index]), ranks.get(index), True)
            for index, position in enumerate(study.positions_mm)
        ),
        maps=tuple(maps),
        read_slices=tuple((index,) for index in range(len(attention))),
        model=model,
        operating_point="balanced",
        device="cpu",
        precision="float32",
    )
    return write_result_folder(diagnosis, output)


def _stored(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a truth mask as (slices, rows, columns)."""
    mask = np.asarray(nib.load(path).dataobj).transpose(2, 1, 0) > 0
    if mask.shape != shape:
        raise ValueError(f"{path.name} has another shape than the CT")
    return mask


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected part: the head without the couch."""
    parts, _count = label_parts(mask)
    return np.asarray(parts == 1 + np.bincount(parts.ravel())[1:].argmax())


def _heat(source: NDArray[np.bool_] | None, head: NDArray[np.bool_]) -> NDArray[np.uint8]:
    if source is None:
        return np.zeros(head.shape, dtype=np.uint8)
    smooth = gaussian_filter(source.astype(np.float32), SPREAD_VOXELS)
    return np.asarray(np.rint(255 * smooth / smooth.max()) * head, dtype=np.uint8)
