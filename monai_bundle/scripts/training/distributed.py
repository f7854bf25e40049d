"""One training or evaluation on several processes, one per GPU, or on processor cores.

They are started by ``python -m torch.distributed.run``, which tells each its number (environment variables RANK,
LOCAL_RANK, WORLD_SIZE). ``configs/multi_gpu_train.json`` and ``multi_gpu_evaluate.json`` say how the parts are used.
"""

from __future__ import annotations

import logging
import os
from datetime import timedelta

import ignite.distributed as idist
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from scripts.messages import ExpectedError

SEED_STEP = 100_003
"""Between the seeds of two processes; far enough that no two trainings with small seeds share a stream."""


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def process_count() -> int:
    """Return the number of processes that work together; 1 outside of ``torch.distributed.run``."""
    return dist.get_world_size() if _together() else 1


def process_number() -> int:
    """Return this process's number among them, from 0."""
    return dist.get_rank() if _together() else 0


def process_seed(seed: int) -> int:
    """Return the seed of this process: augmentation and dropout differ between processes and follow the seed."""
    return seed + SEED_STEP * process_number()


def process_device() -> torch.device:
    """Return this process's own GPU, or the processor where there is none.

    Raises
    ------
    ExpectedError
        If the process was not started by ``torch.distributed.run``.
    """
    if "LOCAL_RANK" not in os.environ:
        raise ExpectedError("training.no_launcher")
    return torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu")


def join_processes(backend: str, device: torch.device, patience_hours: float) -> None:
    """Meet the other processes; all but the first one log warnings only from here on.

    Parameters
    ----------
    backend : {"nccl", "gloo"}
        How tensors travel: nccl between GPUs, gloo between processors.
    device : torch.device
        Of this process.
    patience_hours : float
        How long to wait for another process before giving up; one that makes features takes long.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group(backend, timeout=timedelta(hours=patience_hours))
    if dist.get_rank() > 0:
        logging.disable(logging.INFO)


def leave_processes() -> None:
    """End the work together; afterwards this process may train on its own."""
    dist.destroy_process_group()
    # Ignite keeps what it found when it was first asked.
    idist.sync()


def _turn() -> int:
    """Return 0 for the first process of all, 1 for the first of another machine, 2 for all others."""
    if dist.get_rank() == 0:
        return 0
    return 1 if os.environ["LOCAL_RANK"] == "0" else 2


LAST_TURN = 2


def wait_for_turn() -> None:
    """Wait until the processes that make caches have made them: two must not write the same file.

    The first process of all begins; then the first of every other machine, which finds the files where the folder is
    shared and makes them where it is not; then all others. :func:`end_turn` must follow.
    """
    for _ in range(_turn()):
        dist.barrier()


def end_turn() -> None:
    """Let the next ones begin; see :func:`wait_for_turn`."""
    for _ in range(_turn(), LAST_TURN):
        dist.barrier()


def distributed_network(
    network: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device, find_unused_parameters: bool
) -> DistributedDataParallel:
    """Wrap a network so that all processes take the same step; whatever the optimiser does not hold is frozen.

    On CUDA, batch normalisation is taken over the batches of all processes (SyncBatchNorm), in place. On the processor
    torch has no such layer: there each process normalises over its own share of the batch.

    Parameters
    ----------
    network : nn.Module
        On ``device``; the first process's weights are copied to all.
    optimizer : torch.optim.Optimizer
        Of its parameters.
    device : torch.device
        Of this process.
    find_unused_parameters : bool
        For networks in which a step does not reach every parameter; costs time.
    """
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for parameter in network.parameters():
        if id(parameter) not in held:
            parameter.requires_grad_(False)
    if device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return DistributedDataParallel(
        network,
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=find_unused_parameters,
    )


class SharedBuffers:
    """Handler of the validator: all processes judge the first one's network, running statistics included."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Attach to a validator."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Copy the first process's buffers to all."""
        for buffer in self.network.buffers():
            dist.broadcast(buffer, src=0)


def mean_count(count: Tensor) -> Tensor:
    """Return what a sum is to be divided by so that gradients averaged over processes are those of the whole batch.

    That is the mean of the processes' counts, and of at least 1 in all. A loss that divided by its own count would
    weigh a process with few known labels as much as one with many.

    Parameters
    ----------
    count : Tensor of int64, scalar
        How many terms this process's sum has; every process must call it.
    """
    if not _together():
        return count.clamp(min=1)
    total = count.detach().clone()
    dist.all_reduce(total)
    return total.clamp(min=1) / dist.get_world_size()
