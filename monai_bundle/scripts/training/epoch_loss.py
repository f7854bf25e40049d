"""Says after every epoch how training goes: its mean loss, and about how long the rest will take."""

from __future__ import annotations

import logging
import time
from typing import Any

from ignite.engine import Engine, Events

logger = logging.getLogger(__name__)


class EpochLoss:
    """Handler of the trainer that logs a line per epoch.

    Parameters
    ----------
    name : str
        Of what is trained.

    Attributes
    ----------
    means : list of float
        Mean loss of each epoch that this process ran.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.means: list[float] = []
        self._losses: list[float] = []
        self._since = 0.0

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._say)

    def _begin(self, _engine: Engine) -> None:
        self._losses, self._since = [], time.monotonic()

    def _collect(self, engine: Engine) -> None:
        # MONAI's trainer gives a dictionary, or a list of one per sample where a batch is taken apart.
        output: Any = engine.state.output
        loss = (output if isinstance(output, dict) else output[0])["loss"]
        self._losses.append(float(loss.detach() if hasattr(loss, "detach") else loss))

    def _say(self, engine: Engine) -> None:
        self.means.append(sum(self._losses) / max(1, len(self._losses)))
        epoch, epochs = engine.state.epoch, engine.state.max_epochs or engine.state.epoch
        left = (time.monotonic() - self._since) * (epochs - epoch) / 60
        logger.info(
            "%s: epoch %d of %d, loss %.4f, about %.0f min left", self.name, epoch, epochs, self.means[-1], left
        )
