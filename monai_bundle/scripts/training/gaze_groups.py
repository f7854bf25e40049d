"""Prepared scans whose masks are gaze maps: what the saliency multi-task network's second stage learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from scripts.cache import Cache, files_key
from scripts.datasets.gaze_maps import gaze_files
from scripts.training.group_arrays import gaze
from scripts.training.prepared_slices import PreparedGroup

_VERSION = 1


def gaze_groups(
    groups: Sequence[PreparedGroup], entries: Sequence[Mapping[str, Any]], folder: str | Path, cache: Cache
) -> list[PreparedGroup]:
    """Return the real scans that somebody's gaze was recorded on, their masks being that gaze.

    Nothing stands in for gaze here: scans, and slices of scans, without any teach nothing.

    Parameters
    ----------
    groups : sequence of PreparedGroup
        Of all kinds.
    entries : sequence of mapping
        Datalist, which names the scans.
    folder : path
        Of gaze maps, see :mod:`scripts.datasets.gaze_maps`.
    cache : Cache
        Keeps them as ``gaze``.

    Returns
    -------
    list of PreparedGroup
        ``mask`` holds 0 to 255, the slice's largest; ``mask_known`` says whether it holds any.

    Raises
    ------
    ExpectedError
        If there is no such folder, no file in it of any scan, or one that cannot be used.
    """
    files = gaze_files(folder, [entry["name"] for entry in entries])
    scans = {entry["name"]: entry["study"] for entry in entries}
    found = []
    for group in groups:
        if group.kind != "scan" or group.name not in files:
            continue
        path = files[group.name]
        key = [_VERSION, group.key, files_key([path])]
        make = partial(gaze, scans[group.name], path, group.image.shape[-1])
        looked = torch.from_numpy(cache.get("gaze", key, make))
        found.append(replace(group, mask=looked, mask_known=looked.flatten(1).any(dim=1), key=key))
    return found
