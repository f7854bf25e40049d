"""The layers of DrCT behind the backbone: feature attention, BiGRU encoder, slice attention and classifiers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

FeatureAttentionKind = Literal["softmax", "scaled_softmax"]
Normalisation = Literal["scan", "batch"]


SMALLEST_ATTENTION = 1e-12
"""Of which a logarithm is taken."""
SMALLEST_VARIANCE = 0.01
"""Added to every variance: VGG16's maxima are of order 1 to 10, and bfloat16 blurs them by some hundredths."""


class FeatureNormalisation(nn.Module):
    """Brings every feature to mean 0 and variance 1 over slices, with a learned scale and shift.

    Parameters
    ----------
    over : str
        ``"batch"`` takes mean and variance over all slices of a training batch (batch normalisation, as the paper's APS
        network) and keeps them for inference: another scanner's slices are then measured by the training scanner's.
        ``"scan"`` takes them over the slices of the scan at hand (instance normalisation), in training and inference
        alike: a slice is compared with its own neighbours.
    channels : int
        Features per slice.
    """

    def __init__(self, over: Normalisation, channels: int) -> None:
        super().__init__()
        if over not in ("scan", "batch"):
            raise ValueError(f"normalisation must be 'scan' or 'batch', not {over!r}")
        norm = nn.InstanceNorm1d if over == "scan" else nn.BatchNorm1d
        self.norm: nn.Module = norm(channels, eps=SMALLEST_VARIANCE, affine=True)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise features (batch, slices, channels)."""
        normalised: Tensor = self.norm(features.transpose(1, 2)).transpose(1, 2)
        return normalised


class FeatureAttention(nn.Module):
    """Weights the features of a slice: w = softmax(z), x = w * z (DrCT2, eq. 3).

    Parameters
    ----------
    kind : str
        ``"softmax"`` is the equation as printed. Its weights are nearly one-hot, because VGG16's maxima differ by tens,
        and its values shrink to about 1/512, so that the layers behind it hardly learn. ``"scaled_softmax"`` is the
        same equation at a usable scale: every feature is normalised over the slices first, the softmax is taken at the
        temperature sqrt(channels), as in scaled dot-product attention, and the product is multiplied by the number of
        channels, so that the mean weight is 1.
    channels : int
        Features per slice.
    dropout : float
        Probability with which an attended feature is left out in training; 0 for ``"softmax"``.
    over : str
        See :class:`FeatureNormalisation`; without effect for ``"softmax"``.
    """

    def __init__(self, kind: FeatureAttentionKind, channels: int, dropout: float, over: Normalisation) -> None:
        super().__init__()
        if kind not in ("softmax", "scaled_softmax"):
            raise ValueError(f"feature_attention must be 'softmax' or 'scaled_softmax', not {kind!r}")
        scaled = kind == "scaled_softmax"
        self.normalisation: nn.Module = FeatureNormalisation(over, channels) if scaled else nn.Identity()
        self.temperature = channels**0.5 if scaled else 1.0
        self.gain = float(channels) if scaled else 1.0
        self.dropout: nn.Module = nn.Dropout(dropout) if scaled else nn.Identity()

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the attended features x and the weights w, both of the shape of ``features``.

        Parameters
        ----------
        features : Tensor, shape (batch, slices, channels)
            Embeddings z.
        """
        scaled = self.normalisation(features)
        weights = (scaled / self.temperature).softmax(dim=-1)
        return self.dropout(self.gain * weights * scaled), weights


class BiGRUEncoder(nn.Module):
    """Relates each slice to its neighbours: y_t = g(W_y [a_forward, a_backward] + b_y) (DrCT2, eq. 4).

    The activations come from a bidirectional gated recurrent unit over the slices; g is the hyperbolic tangent.
    """

    def __init__(self, channels: int, hidden: int, width: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(channels, hidden, batch_first=True, bidirectional=True)
        self.output = nn.Sequential(nn.Linear(2 * hidden, width), nn.Tanh())

    def forward(self, features: Tensor) -> Tensor:
        """Turn features (batch, slices, channels) into rows y (batch, slices, width)."""
        activations, _ = self.recurrent(features)
        rows: Tensor = self.output(activations)
        return rows


class SliceAttention(nn.Module):
    """Weights each slice: one value per row, softmax over the slices (DrCT2, eq. 5 and 6).

    Parameters
    ----------
    width : int
        Length of a row.
    smoothing : int
        How often the slice logits that are added are averaged with their neighbours.
    from_slice_logits : bool
        Whether the rows' own value begins at 0, so that training starts from the attention that slice logits give; else
        it begins at random.
    """

    def __init__(self, width: int, smoothing: int = 0, from_slice_logits: bool = False) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.score = nn.Linear(width, 1)
        if from_slice_logits:
            nn.init.zeros_(self.score.weight)
            nn.init.zeros_(self.score.bias)

    def forward(self, rows: Tensor, slice_logits: Tensor) -> Tensor:
        """Return attention (batch, slices), summing to 1 over the slices.

        Parameters
        ----------
        rows : Tensor, shape (batch, slices, width)
            Of the encoder.
        slice_logits : Tensor, shape (batch, slices)
            Added to each slice's value: its logit for the first label, 0 without a slice classifier.
        """
        attention: Tensor = (self.score(rows).squeeze(-1) + self._smooth(slice_logits)).softmax(dim=-1)
        return attention

    def after_second_reading(self, attention: Tensor, slice_logits: Tensor, merged: Tensor) -> Tensor:
        """Return the attention (batch, slices) that the slices' logits give once key slices were read again.

        Parameters
        ----------
        attention : Tensor, shape (batch, slices)
            From the first reading.
        slice_logits, merged : Tensor, shape (batch, slices)
            Of the first label, from the first reading and from both.
        """
        change = self._smooth(merged - slice_logits)
        # Softmax of the rows' value plus the new logits, without the rows.
        return (attention.clamp(min=SMALLEST_ATTENTION).log() + change).softmax(dim=-1)

    def _smooth(self, slice_logits: Tensor) -> Tensor:
        for _ in range(self.smoothing):
            slice_logits = mean_with_neighbours(slice_logits[..., None])[..., 0]
        return slice_logits


def mean_with_neighbours(slice_logits: Tensor) -> Tensor:
    """Return the mean of each slice and its neighbours, which count half as much; at the ends the last counts twice.

    Parameters
    ----------
    slice_logits : Tensor, shape (batch, slices, labels)
        Of slices in anatomical order.
    """
    ends = torch.cat([slice_logits[:, :1], slice_logits, slice_logits[:, -1:]], dim=1)
    return 0.25 * ends[:, :-2] + 0.5 * slice_logits + 0.25 * ends[:, 2:]


class SliceClassifier(nn.Module):
    """Classifies each slice by itself: one logit per label, without its neighbours.

    Not in the paper, which knows scan labels alone: where slice labels exist, this layer learns from them.
    """

    def __init__(self, channels: int, labels: int, dropout: float, over: Normalisation) -> None:
        super().__init__()
        self.normalisation = FeatureNormalisation(over, channels)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(channels, labels)

    def forward(self, features: Tensor) -> Tensor:
        """Turn embeddings (batch, slices, channels) into logits (batch, slices, labels)."""
        logits: Tensor = self.output(self.dropout(self.normalisation(features)))
        return logits

    def slope(self) -> Tensor:
        """Return what one unit of each embedding adds to each logit (labels, channels), without dropout.

        Raises
        ------
        ValueError
            If features are normalised over the scan at hand: the slope is then another for every scan.
        """
        norm = self.normalisation.norm
        if not isinstance(norm, nn.BatchNorm1d | nn.SyncBatchNorm) or norm.running_var is None:
            raise ValueError("the slope is known for normalisation 'batch' only")
        return self.output.weight * (norm.weight / (norm.running_var + norm.eps).sqrt())


class NoSliceClassifier(nn.Module):
    """Takes the place of a :class:`SliceClassifier` that is switched off: every logit is 0."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.labels = labels

    def forward(self, features: Tensor) -> Tensor:
        """Return zeros (batch, slices, labels)."""
        return features.new_zeros(features.shape[0], features.shape[1], self.labels)


def classifier(inputs: int, hidden: int, labels: int, dropout: float) -> nn.Sequential:
    """Three fully connected layers: ReLU, ReLU, logits; dropout in front of the second and the third."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, labels),
    )
