"""The metadata's figures are the same, whether ``make train`` or ``make evidence`` wrote them last."""

from __future__ import annotations

from evidence_files import made_up

from research.evidence.shipped_metrics import eval_metrics
from research.training.cross_validation import figures


def test_the_metadatas_figures_are_those_of_the_training():
    predictions = made_up("good", 1.2)
    mine = eval_metrics(predictions)
    assert mine | figures(predictions) == mine
    assert mine["labels"]["any"]["auc"] > 0.9
