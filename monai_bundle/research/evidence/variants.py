"""Held-out predictions of every way to train that the report compares; made again only where inputs changed."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from research.evaluation.predictions import Predictions
from research.training.protocol import (
    FINETUNING,
    HEADS,
    Variant,
    cross_validated,
    data_key,
    fine_tuned,
    prepared,
    settings_of,
)

CONFIGURATION = "configs/evidence.json"
logger = logging.getLogger(__name__)


def read_variants(configuration: Mapping[str, Any]) -> list[Variant]:
    """Return the variants of ``configs/evidence.json``, the shipped one first.

    Raises
    ------
    ValueError
        If two share a name, or the shipped one is not among them.
    """
    variants = [
        Variant(entry["name"], entry["title"], entry.get("heads", {}), entry.get("finetuning"), entry.get("views", 1))
        for entry in configuration["variants"]
    ]
    names = [variant.name for variant in variants]
    if len(set(names)) != len(names) or configuration["shipped"] not in names:
        raise ValueError(f"{CONFIGURATION}: names must be unique, and {configuration['shipped']!r} among them")
    return sorted(variants, key=lambda variant: variant.name != configuration["shipped"])


def by_eye(variants: Sequence[Variant]) -> tuple[list[Variant], list[Variant]]:
    """Part the first variant of each way to see slices from those that have only other heads behind the same features.

    The features are what costs time: they are made on all processor cores, one variant after the other. The heads then
    take no more than one core, and are trained side by side.
    """
    firsts: dict[str, Variant] = {}
    for variant in variants:
        seeing = {key: value for key, value in variant.heads.items() if key.split("#")[0] not in _BEHIND_FEATURES}
        firsts.setdefault(json.dumps([variant.finetuning, seeing], sort_keys=True, default=str), variant)
    own = list(firsts.values())
    return own, [variant for variant in variants if variant not in own]


_BEHIND_FEATURES = ("loss", "network_def", "sub_stack_size", "seed")


def make_maps(variant: Variant, base: Mapping[str, Any]) -> bool:
    """Make the maps in front of the last block, and the outlines on their cells; return whether all were there."""
    content = prepared([HEADS, FINETUNING], {**base, **(variant.finetuning or {})}).parser.get_parsed_content
    for key in ("scan_maps", "slice_maps", "masks"):
        content(key)
    return bool(content("cache").computed == 0)


def fine_tune(variant: Variant, base: Mapping[str, Any]) -> bool:
    """Fine-tune the last block once per fold; return whether that had been done before."""
    folds = int(variant.heads.get("folds", settings_of(HEADS)["folds"]))
    with _watched(str(Path(str(base.get("cache_root", "cache"))) / "finetuned")) as unchanged:
        for fold in range(folds):
            fine_tuned(variant, fold, base)
    return unchanged()


@contextmanager
def _watched(*folders: str) -> Iterator[Callable[[], bool]]:
    """Give what says, afterwards, whether no file in the folders was written."""

    def files() -> set[tuple[str, int]]:
        return {(str(path), path.stat().st_mtime_ns) for folder in folders for path in Path(folder).glob("*.pt")}

    before = files()
    yield lambda: files() == before


def predict_side_by_side(variants: Sequence[Variant], base: Mapping[str, Any], folder: Path) -> bool:
    """Make the held-out predictions of several variants, one process and one core each; return whether all were there.

    Raises
    ------
    Exception
        Whatever the first process to fail raised; what others had finished is kept.
    """
    workers = max(1, min(os.cpu_count() or 1, len(variants)))
    # Several progress bars at once can be read by nobody; tqdm looks when it is imported.
    os.environ["TQDM_DISABLE"] = "1"
    # A forked process would inherit torch's threads in whatever state they are.
    context, cached = multiprocessing.get_context("spawn"), []
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_on_one_core) as pool:
        running = {pool.submit(predict, variant, base, folder): variant for variant in variants}
        try:
            for done in as_completed(running):
                cached.append(done.result()[1])
                logger.info("%s: done, %d of %d", running[done].name, len(cached), len(variants))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return all(cached)


def _on_one_core() -> None:
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


def predict(
    variant: Variant, base: Mapping[str, Any], folder: Path, keep: Path | None = None
) -> tuple[Predictions, bool]:
    """Return the held-out predictions of one variant, and whether they were there already.

    A file is up to date if the variant, the configurations and the data (files, labels, folds) are what they were; the
    code is not looked at: after changing it, remove the folder.

    Parameters
    ----------
    variant : Variant
        How to train.
    base : mapping
        Overrides of every configuration.
    folder : Path
        Holds ``<name>.json`` and, beside it, the mark of what it was made from.
    keep : Path, optional
        Folder for the networks of the folds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, mark_path = folder / f"{variant.name}.json", folder / f"{variant.name}.mark"
    mark = _mark(variant, base)
    if path.is_file() and mark_path.is_file() and mark_path.read_text("utf-8") == mark:
        logger.info("%s: predictions are there", variant.name)
        return Predictions.from_json(path), True
    mark_path.unlink(missing_ok=True)
    predictions = cross_validated(variant, base, keep)
    predictions.to_json(path)
    mark_path.write_text(mark, encoding="utf-8")
    return predictions, False


def _mark(variant: Variant, base: Mapping[str, Any]) -> str:
    settings = [settings_of(HEADS), settings_of(HEADS, FINETUNING)]
    data = [data_key(HEADS, {**base, **variant.heads})]
    if variant.finetuning is not None:
        data.append(data_key([HEADS, FINETUNING], {**base, **variant.finetuning}))
    made_from = [variant.heads, variant.finetuning, variant.views, base, data, *settings]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode()).hexdigest()
