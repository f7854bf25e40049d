"""The lesion map as evidence for the answer: its area on a slice, beside the slice's embedding.

Not in the paper, whose network knows no pixels. Without it a slice's logits come from pooled features alone, and a
haemorrhage that the lesion map shows plainly may be missing from the findings.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SMALLEST_SHARE = 1e-4
"""Share of a slice's crop that counts as one unit: about 0.02 ml of a slice of 5 mm."""
FAINTEST = 0.1
"""Probability from which a pixel counts: thousands that show nothing would add up."""


def lesion_scores(pixel_logits: Tensor) -> Tensor:
    """Return how much of each slice shows blood, as the logarithm of its share of the crop.

    Parameters
    ----------
    pixel_logits : Tensor, shape (slices, labels, h, w)
        Of a lesion decoder, at any resolution: the score of the same slice is the same at another.

    Returns
    -------
    Tensor, shape (slices, labels)
        ``log(1 + share / SMALLEST_SHARE)``; 0 without blood, about 4 for 1 ml on a slice of 5 mm.
    """
    probability = pixel_logits.float().sigmoid()
    share = (probability * (probability > FAINTEST)).mean(dim=(-2, -1))
    return torch.log1p(share / SMALLEST_SHARE)


class LesionEvidence(nn.Module):
    """Adds to each slice's logits one line of its lesion scores per label: their weight and an offset.

    Parameters
    ----------
    labels : int
        Number of logits, and of scores at the end of each embedding.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.labels = labels
        self.weight = nn.Parameter(torch.full((labels,), 0.5))
        self.offset = nn.Parameter(torch.zeros(labels))

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Divide embeddings (batch, slices, channels + labels) into features and evidence (batch, slices, labels)."""
        features, scores = embeddings[..., : -self.labels], embeddings[..., -self.labels :]
        return features, self.weight * scores + self.offset


class NoLesionEvidence(nn.Module):
    """Takes the place of :class:`LesionEvidence` where the network uses no lesion scores."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.labels = labels

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings (batch, slices, channels) as they are, and zeros (batch, slices, labels)."""
        return embeddings, embeddings.new_zeros(embeddings.shape[0], embeddings.shape[1], self.labels)
