"""Held-out predictions of every variant that the report compares; computed again only where inputs changed."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from research.metrics.predictions import Predictions
from research.training.protocol import (
    BASE,
    FINETUNING,
    HEADS,
    PREPARED,
    SLICES,
    STUDIES,
    Variant,
    cross_validated,
    data_key,
    fine_tuned,
    settings_of,
)
from scripts.cache import Cache

_BEHIND_FEATURES = ("loss", "network_def", "sub_stack_size", "seed")

logger = logging.getLogger(__name__)


def by_features(variants: Sequence[Variant]) -> tuple[list[Variant], list[Variant]]:
    """Split variants into the first with each kind of features, and those with other heads behind the same ones.

    Features take the time: they are computed on all processor cores, one variant after the other. The heads then take
    no more than one core, and are trained side by side.
    """
    firsts: dict[str, Variant] = {}
    for variant in variants:
        of_features = {key: value for key, value in variant.heads.items() if not _is_behind_features(key)}
        key = json.dumps([variant.finetuning, variant.slices, of_features], sort_keys=True, default=str)
        firsts.setdefault(key, variant)
    own = list(firsts.values())
    return own, [variant for variant in variants if variant not in own]


def _is_behind_features(key: str) -> bool:
    return key.split("#", maxsplit=1)[0] in _BEHIND_FEATURES and not key.startswith("network_def#backbone")


def fine_tune(variant: Variant, base: Mapping[str, Any]) -> bool:
    """Fine-tune the last block once per fold; return whether all folds were cached."""
    blocks = Path(str(base.get("cache_root", "cache"))) / "finetuned"
    before = set(blocks.glob("*.pt"))
    for fold in range(int(variant.heads.get("folds", settings_of(HEADS)["folds"]))):
        fine_tuned(variant, fold, base)
    return set(blocks.glob("*.pt")) == before


def predict_side_by_side(variants: Sequence[Variant], base: Mapping[str, Any], folder: Path) -> bool:
    """Predict the held-out scans for several variants, one process and one core each; return whether all were cached.

    Raises
    ------
    Exception
        Whatever the first process to fail raised; what others have finished stays cached.
    """
    workers = max(1, min(os.cpu_count() or 1, len(variants)))
    # Several progress bars at once are unreadable; tqdm reads this when it is imported.
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
    """Return the held-out predictions of one variant, and whether they were cached.

    They are cached under the variant, the configurations and the data (files, labels, folds), not under the code: after
    changing it, remove the folder.

    Parameters
    ----------
    variant : Variant
        How to train.
    base : mapping
        Overrides of every configuration.
    folder : Path
        Gets ``<name>.json``; its sub-folder ``cache`` is the cache.
    keep : Path, optional
        Folder for the networks of the folds.
    """
    cache = Cache(folder / "cache")
    predictions = cache.get("predictions", key_of(variant, base), lambda: cross_validated(variant, base, keep))
    predictions.to_json(folder / f"{variant.name}.json")
    return predictions, cache.computed == 0


def key_of(variant: Variant, base: Mapping[str, Any]) -> list[Any]:
    """Return everything that decides a variant's predictions, the code excepted."""
    settings = [settings_of(HEADS), settings_of(HEADS, FINETUNING)]
    data = [data_key(HEADS, {**base, **variant.heads})]
    if variant.finetuning is not None:
        data.append(data_key([HEADS, FINETUNING], {**base, **variant.finetuning}))
    if variant.slices is not None:
        settings += [settings_of(HEADS, PREPARED, SLICES, BASE), settings_of(HEADS, PREPARED, SLICES, STUDIES)]
        data.append(data_key([HEADS, PREPARED, SLICES], {**base, **variant.slices}))
    parts = (variant.heads, variant.finetuning, variant.slices, variant.augmentations, variant.title)
    return [*parts, dict(base), data, *settings]
