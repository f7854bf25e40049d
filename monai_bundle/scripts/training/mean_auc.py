"""The key metric of training: the mean area under the ROC curve, over the labels that have one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from monai.handlers import IgniteMetricHandler, from_engine
from monai.metrics import CumulativeIterationMetric, compute_roc_auc
from torch import Tensor


class MeanAUCMetric(CumulativeIterationMetric):
    """Mean ROC AUC over labels; labels without a positive or without a negative are left out, as is what is NaN.

    MONAI's macro average is NaN as soon as one label lacks either, and NaN never improves: a checkpoint saver would
    keep its first epoch for ever. Where no label can be judged the result is 0.5, no information.
    """

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if y is None:
            raise ValueError("the area under the ROC curve needs the true labels")
        return y_pred, y

    def aggregate(self, *args: Any, **kwargs: Any) -> float:
        """Return the mean area."""
        predicted, true = self.get_buffer()
        areas: list[float] = []
        for of_label, truth in zip(predicted.unbind(dim=1), true.unbind(dim=1), strict=True):
            known = truth.isfinite()
            if bool((truth == 0).any() and (truth == 1).any()):
                areas.append(float(np.asarray(compute_roc_auc(of_label[known], truth[known]))))
        return float(np.mean(areas)) if areas else 0.5


class MeanAUC(IgniteMetricHandler):
    """Handler of :class:`MeanAUCMetric` for MONAI's engines.

    Parameters
    ----------
    output_transform : callable, optional
        From the engine's output to predictions and labels; its ``pred`` and ``label`` where it is not given.
    """

    def __init__(self, output_transform: Callable[[Any], Any] | None = None) -> None:
        chosen = output_transform or from_engine(["pred", "label"])
        super().__init__(metric_fn=MeanAUCMetric(), output_transform=chosen, save_details=False)
