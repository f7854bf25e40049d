"""The recipes of the bundle's training configurations, at small sizes and in single precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from scripts.training.slice_recipe import SliceRecipe

CONFIGS = Path(__file__).resolve().parents[2] / "monai_bundle" / "configs"


def parsed(*names: str, **overrides: Any) -> ConfigParser:
    """Parse configurations of the bundle, with overrides."""
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / f"{name}.json") for name in names])
    parser.update({"image_size": 32, "high_res_size": 64, "variants": 2, **overrides})
    parser.get_parsed_content("imports")
    return parser


def recipe(**overrides: Any) -> SliceRecipe:
    """Return the recipe of configs/train.json."""
    return replace(parsed("train", **overrides).get_parsed_content("recipe"), precision="float32")


def mask_recipe(**overrides: Any) -> SliceRecipe:
    """Return the recipe of the masks of configs/finetune.json."""
    made: SliceRecipe = parsed("train", "finetune", **overrides).get_parsed_content("masks#recipe")
    return made
