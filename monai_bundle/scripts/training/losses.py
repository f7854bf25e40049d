"""DrCT2's loss: MSE(primary) + MSE(APS) + BCE(fusion) (eq. 11 to 13)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional


class DrCTLoss(nn.Module):
    """Sum of the branches' losses on their own logits and the fusion's.

    Parameters
    ----------
    branches : {"mse", "bce"}
        Loss of the primary and the APS network: mean squared error of the probabilities, as the paper has it, or binary
        cross-entropy, which it compares in its table 2.
    """

    def __init__(self, branches: Literal["mse", "bce"] = "mse") -> None:
        super().__init__()
        if branches not in ("mse", "bce"):
            raise ValueError(f"branches must be 'mse' or 'bce', not {branches!r}")
        self.branches = branches

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Parameters
        ----------
        logits : Tensor, shape (batch, readings, labels)
            First the answer (of the fusion), then the branches, if the network has any.
        target : Tensor, shape (batch, labels)
            0 or 1.
        """
        loss = functional.binary_cross_entropy_with_logits(logits[:, 0], target)
        for branch in logits[:, 1:].unbind(dim=1):
            if self.branches == "bce":
                loss = loss + functional.binary_cross_entropy_with_logits(branch, target)
            else:
                loss = loss + functional.mse_loss(branch.sigmoid(), target)
        return loss
