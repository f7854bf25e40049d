"""Interrupted training goes on from its last epoch and ends with the weights that it would have had anyway.

A checkpoint's name carries the key of its training (data, starting weights, optimiser, settings, number of processes):
several trainings may share a folder, and none takes up another's.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import joblib
import numpy as np
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.handlers import CheckpointLoader, CheckpointSaver
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from scripts.cache import weights_key
from scripts.training.distributed import process_count, process_number

KEPT = 2
"""Checkpoints on disk: the newest may be cut off in the middle of writing, the one before it is whole."""

logger = logging.getLogger(__name__)


class TrainedPart:
    """What training changes of a network: the optimiser's parameters, and all buffers.

    The frozen backbone is left out: it is large, and on disk already.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.network = network
        trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        self.frozen = {name for name, parameter in network.named_parameters() if id(parameter) not in trained}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the trained tensors by name."""
        return {name: tensor for name, tensor in self.network.state_dict().items() if name not in self.frozen}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Fill the network; RuntimeError if anything but the frozen part is missing or unknown."""
        frozen = {name: tensor for name, tensor in self.network.state_dict().items() if name in self.frozen}
        self.network.load_state_dict({**frozen, **state})


class RandomStates:
    """Where training draws from: torch's and CUDA's generators and the data set's own, of every process."""

    def __init__(self, dataset: PairDataset) -> None:
        self.dataset = dataset

    def state_dict(self) -> dict[str, Any]:
        """Return the states as plain tensors and numbers; every process must call it, for it gathers them."""
        own: dict[str, Any] = {"torch": torch.get_rng_state(), "dataset": _plain(self.dataset.R)}
        if torch.cuda.is_available():
            own["cuda"] = torch.cuda.get_rng_state()
        if process_count() == 1:
            return {"processes": [own]}
        gathered: list[Any] = [None] * process_count()
        dist.all_gather_object(gathered, own)
        return {"processes": gathered}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on drawing where this process stopped."""
        own = state["processes"][process_number()]
        torch.set_rng_state(own["torch"])
        self.dataset.R.set_state(_of_numpy(own["dataset"]))
        if "cuda" in own and torch.cuda.is_available():
            torch.cuda.set_rng_state(own["cuda"])


def _plain(generator: np.random.RandomState) -> dict[str, Any]:
    _, keys, position, has_gauss, gauss = generator.get_state(legacy=True)
    return {
        "keys": torch.from_numpy(np.asarray(keys, dtype=np.int64)),
        "position": int(position),
        "has_gauss": int(has_gauss),
        "gauss": float(gauss),
    }


def _of_numpy(state: Mapping[str, Any]) -> tuple[str, Any, int, int, float]:
    keys = state["keys"].numpy().astype(np.uint32)
    return "MT19937", keys, state["position"], state["has_gauss"], state["gauss"]


class PairDataset(Protocol):
    """A dataset of datalist entries, each with what is made of it, that draws by a generator of its own."""

    data: Sequence[tuple[Mapping[str, Any], Any]]
    R: np.random.RandomState


def training_key(
    network: nn.Module, optimizer: torch.optim.Optimizer, loss: nn.Module, dataset: PairDataset, settings: object
) -> str:
    """Return a hash of everything that decides a training, to be taken before its first step.

    Parameters
    ----------
    network : nn.Module
        With its starting weights.
    optimizer : torch.optim.Optimizer
        Of some or all of the network's parameters.
    loss : nn.Module
        As configured.
    dataset : PairDataset
        Its ``data`` are pairs of a datalist entry, with ``name`` and labels, and what is made of it.
    settings : object
        Everything else, as plain data.
    """
    groups = [{**group, "params": len(group["params"])} for group in optimizer.param_groups]
    modules = [_attributes(module) for part in (network, loss) for module in part.modules()]
    entries = [(entry["name"], entry.get("label"), entry.get("slice_labels")) for entry, _ in dataset.data]
    of_optimizer = [type(optimizer).__name__, groups]
    return str(joblib.hash([modules, weights_key(network), of_optimizer, entries, settings, process_count()]))


def _attributes(module: nn.Module) -> dict[str, Any]:
    simple = (bool, int, float, str, tuple)
    own = {key: value for key, value in vars(module).items() if isinstance(value, simple) and key != "training"}
    return {"class": type(module).__name__, **own}


class EpochCheckpoints:
    """Handler of the trainer that writes a checkpoint after every epoch and, if asked, goes on from the newest.

    A checkpoint opens with ``weights_only=True``. With several processes every one attaches it, and the first one
    writes; on several machines ``folder`` must be a shared one.

    Parameters
    ----------
    folder : path
        Where checkpoints lie.
    network, optimizer, loss, dataset, settings
        What is trained, and how; see :func:`training_key`.
    schedule : LRScheduler, optional
        Of the learning rate.
    average : nn.Module, optional
        Weights averaged over the steps, kept beside the network's.
    interval : int
        Epochs from one checkpoint to the next; 0 writes none.
    resume : bool
        Whether to go on from the newest checkpoint of the same training; where there is none, training starts from the
        beginning, with a warning. Without it, older checkpoints of the same training are removed.
    """

    def __init__(  # noqa: PLR0913 (a training has that many parts)
        self,
        folder: str | Path,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: nn.Module,
        dataset: PairDataset,
        *,
        settings: object,
        schedule: LRScheduler | None = None,
        average: nn.Module | None = None,
        interval: int = 1,
        resume: bool = False,
    ) -> None:
        self.folder, self.interval, self.resume = Path(folder), interval, resume
        self.training = (network, optimizer, loss, dataset, settings)
        self.parts: dict[str, Any] = {
            "network": TrainedPart(network, optimizer),
            "optimizer": optimizer,
            "random_states": RandomStates(dataset),
        }
        if schedule is not None:
            self.parts["schedule"] = schedule
        if average is not None:
            self.parts["average"] = average
        self.prefix: str | None = None

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        if self.interval > 0 or self.resume:
            engine.add_event_handler(Events.STARTED, self._start)

    def _start(self, engine: Engine) -> None:
        self.prefix = training_key(*self.training)[:16]
        parts = {**self.parts, "trainer": engine}
        if self.resume:
            self._go_on(engine, parts)
        else:
            self.discard()
        # Attached here, and so behind validation, which draws random numbers too: next comes the next epoch.
        CheckpointSaver(
            str(self.folder), parts, file_prefix=self.prefix, save_interval=self.interval, n_saved=KEPT
        ).attach(engine)

    def _go_on(self, engine: Engine, parts: Mapping[str, Any]) -> None:
        newest = next((path for path in self.found() if _opens(path)), None)
        if newest is None:
            logger.warning("no checkpoint of this very training in the output folder: it starts from the beginning")
            return
        logger.info("going on from %s", newest.name)
        # To the processor's memory first: generators' states stay there, and weights are copied to where they belong.
        places = {f"cuda:{number}": "cpu" for number in range(torch.cuda.device_count())}
        CheckpointLoader(str(newest), dict(parts), map_location=places)(engine)

    def found(self) -> list[Path]:
        """Return this training's checkpoints, the newest first; none before it has started."""
        if self.prefix is None:
            return []
        files = self.folder.glob(f"{self.prefix}_checkpoint_epoch=*.pt")
        return sorted(files, key=lambda path: int(path.stem.rpartition("=")[2]), reverse=True)

    def discard(self) -> None:
        """Remove this training's checkpoints: it is complete, or begins anew."""
        if process_number() == 0:
            for path in self.found():
                path.unlink()


def _opens(path: Path) -> bool:
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except (EOFError, OSError, RuntimeError, pickle.UnpicklingError) as error:
        logger.warning("%s: cut off or damaged (%s), the one before it is used", path.name, type(error).__name__)
        return False
    return True
