"""Figures of others, and the targets of this project: quoted, never measured here."""

from __future__ import annotations

from typing import Any

from research.metrics.interpretive_tasks import PUBLISHED as DRCT2_TASKS

TARGETS: dict[str, float] = {"scan_auc": 0.92, "slice_auc": 0.95, "top_h": 0.70}
"""What was aimed at on held-out patients, for ``any``."""

QUOTED: dict[str, Any] = {
    "tasks": DRCT2_TASKS,
    "drct2_macro_f1": {"CQ500": 0.9370, "RSNA 2019": 0.8700},
    "map_quality": {"diff_gradcam": 0.186, "effective_heat_ratio_auc": 0.0243},
}
"""DrCT2 (Medical Physics 2022, doi 10.1002/mp.15871); Qiu et al. (arXiv 2308.15172: VGG16, chest X-rays)."""
