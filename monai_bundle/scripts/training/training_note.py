"""What a system's weights were made of, in a file beside them, for results to state."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scripts.networks.study_network import StudyNetwork
from scripts.training.prepared_slices import PreparedGroup
from scripts.weights import note_file


def training_note(
    network: StudyNetwork, groups: Sequence[PreparedGroup], size: int, epochs: int, remark: str = ""
) -> dict[str, str | int]:
    """Describe a training.

    Parameters
    ----------
    network : StudyNetwork
        States what its backbone began with.
    groups : sequence of PreparedGroup
        What it learnt from.
    size, epochs : int
        Rows and columns of the images; epochs of the last stage.
    remark : str
        What whoever reads a result has to know besides.
    """
    counts = Counter(group.kind for group in groups)
    kinds = ", ".join(f"{count} x {kind}" for kind, count in sorted(counts.items()))
    start = network.backbone.starts_from()
    text = f"{kinds}, at {size} x {size} pixels, {epochs} epochs, from {start}{f'; {remark}' if remark else ''}"
    return {"trained_on": text, "start": start, "image_size": size, "epochs": epochs}


def write_training_note(
    path: Path, network: StudyNetwork, groups: Sequence[PreparedGroup], size: int, epochs: int, remark: str = ""
) -> None:
    """Write the note of a weight file beside it, as a whole."""
    note = note_file(path)
    partial = note.with_name(f"{note.name}.partial")
    partial.write_text(
        json.dumps(training_note(network, groups, size, epochs, remark), indent=4) + "\n", encoding="utf-8"
    )
    partial.replace(note)
