"""Ways to run a batch, for the tests of the Slicer half."""

from __future__ import annotations

from ICHDiagnosisLib.batch.batch import Batch
from ICHDiagnosisLib.batch.studies import LoadedVolume, loaded_volumes
from ICHDiagnosisLib.batch.table import BatchUpdate
from scene_cases import GEOMETRIES, a_ct


def finished(batch: Batch) -> BatchUpdate:
    for _poll in range(100):
        update = batch.poll()
        if update.finished:
            return update
    raise AssertionError("the batch did not end")


def of_volumes(count: int) -> tuple[LoadedVolume, ...]:
    nodes = [a_ct(GEOMETRIES["oblique"], f"CT {index}") for index in range(count)]
    return loaded_volumes(nodes, None, True)
