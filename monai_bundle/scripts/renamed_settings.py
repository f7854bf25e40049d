"""Settings that were renamed: MONAI takes unknown keys in silence, so an old name would do nothing.

The first item of a configuration's ``initialize`` refuses old names by a named error that gives the new one. Laying
``configs/renamed_keys_0_3.json`` over a configuration makes old names readable for this version, with a warning.
"""

from __future__ import annotations

import ast
import json
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.settings import SettingError

RENAMED = {
    "picture_size": "image_size",
    "zoom_size": "high_res_size",
    "read_sizes": "image_sizes",
    "head_margin": "crop_margin",
    "sample_size": "sub_stack_size",
    "held_out_fold": "validation_fold",
    "zoom_variants": "scan_maps#high_res_variants",
    "zoom_variants_read": "scan_maps#high_res_variants",
    "outline_weight": "mask_weight",
    "inferer#zoom_micro_batch": "inferer#high_res_micro_batch",
    "inferer#with_feature_attention": "write_feature_attention",
    "network_def#zoom": "network_def#high_res_size",
    "network_def#heads#evidence": "network_def#heads#slice_classifier",
    "cache_dir": "cache#folder",
    "maps_dir": "cache#folder",
    "outlines_dir": "cache#folder",
    "pooled_dir": "cache#folder",
    "load": "train#preprocessing",
    "rotation_radians": "recipe#augmentation#rotation_radians",
    "scaling": "recipe#augmentation#scaling",
    "window_contrast": "recipe#augmentation#window_contrast",
    "window_shift_hu": "recipe#augmentation#window_shift_hu",
    "noise_hu": "recipe#augmentation#noise_hu",
    "blur_pixels": "recipe#augmentation#blur_pixels",
    "augmentation_seed": "recipe#augmentation#seed",
    "aps_learning_rate": "optimizer#params#aps_learning_rate",
    "weight_decay": "optimizer#weight_decay",
    "checkpoint_interval": "train#checkpoints#interval",
    "mixing": "mixup",
    "evidence_learning_rate": "classifier_learning_rate",
    "warm_up": "schedule#pct_start",
}
"""Name up to version 0.3 to the name since."""

OVERLAY = "renamed_keys_0_3.json"
_KEYS_OF_SIZES = {"picture": "image", "zoom": "high_res"}

logger = logging.getLogger(__name__)


def refuse_renamed(arguments: Sequence[str] | None = None) -> None:
    """Refuse settings under an old name, on the command line or in a file of ``--config_file``.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line; that of this process, if not given. Names that the overlay reads are taken where it is
        among the files.

    Raises
    ------
    SettingError
        If a setting was renamed.
    """
    given = _options(sys.argv[1:] if arguments is None else arguments)
    files = [file for value in (given.get("config_file"),) if value for file in _as_files(value)]
    readable = {key for file in files if file.name == OVERLAY for key in _keys_of(file)}
    for name in (*given, *(key for file in files for key in _keys_of(file))):
        if name in RENAMED and name not in readable:
            raise SettingError("settings.renamed", old=name, new=RENAMED[name])


def renamed(old: str, value: Any, otherwise: Any) -> Any:  # noqa: ANN401 (settings have any type)
    """Return a setting that has its old name, with a warning, or the default where the old name is not used (None)."""
    if value is None:
        return otherwise
    logger.warning("%s is called %s since version 0.4; the old name will be gone in the next", old, RENAMED[old])
    if isinstance(value, Mapping):
        return {_KEYS_OF_SIZES.get(key, key): entry for key, entry in value.items()}
    return value


def _options(arguments: Iterable[str]) -> dict[str, str]:
    """Return options as fire reads them: ``--name value``, ``--name=value``."""
    options: dict[str, str] = {}
    name = ""
    for argument in arguments:
        if argument.startswith("--"):
            name, _, value = argument.removeprefix("--").partition("=")
            options[name] = value
        elif name:
            options[name] = argument
    return options


def _as_files(value: str) -> list[Path]:
    """Return the files of ``--config_file``: one path, or a list of paths as Python or fire writes it."""
    if not value.startswith(("[", "(")):
        return [Path(value)]
    try:
        return [Path(str(file)) for file in ast.literal_eval(value)]
    except (SyntaxError, ValueError):
        return [Path(file.strip(" '\"")) for file in value.strip("[]()").split(",")]


def _keys_of(file: Path) -> Iterator[str]:
    """Yield the names of all settings in a configuration, nested ones joined by ``#``."""
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        # YAML, or a file that MONAI itself will refuse.
        return
    yield from _nested(content, "")


def _nested(content: Any, prefix: str) -> Iterator[str]:  # noqa: ANN401 (JSON)
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield prefix + key
            yield from _nested(value, f"{prefix}{key}#")
