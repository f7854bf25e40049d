"""Number format and memory layout by which the backbone is fastest on this machine, as torch reports it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from scripts.settings import SettingError

PrecisionName = Literal["auto", "bfloat16", "float16", "float32"]
_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class Precision:
    """Number format of the backbone; the heads and the explanation always use float32.

    Attributes
    ----------
    device_type : str
        ``"cpu"`` or ``"cuda"``.
    dtype : torch.dtype
        Format inside autocast; float32 means no autocast.
    """

    device_type: str
    dtype: torch.dtype

    @property
    def name(self) -> str:
        """Name as written in the result, e.g. ``"bfloat16"``."""
        return str(self.dtype).removeprefix("torch.")

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Run the backbone in this format."""
        enabled = self.dtype != torch.float32
        with torch.autocast(self.device_type, self.dtype if enabled else torch.bfloat16, enabled=enabled):
            yield


def fastest_layout(network: nn.Module) -> nn.Module:
    """Store convolutions with their channels last, which processors and GPUs alike read faster; in place."""
    laid_out: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return laid_out


def choose_precision(device: torch.device, name: PrecisionName = "auto") -> Precision:
    """Return the precision asked for, or the fastest that this device computes natively.

    On a processor, bfloat16 is only taken where AMX or AVX512-BF16 computes it; elsewhere it is emulated and slow.
    On CUDA, bfloat16 where the card has it, otherwise float16.

    Raises
    ------
    SettingError
        If the name is unknown.
    """
    if name in _TYPES:
        return Precision(device.type, _TYPES[name])
    if name != "auto":
        raise SettingError("settings.precision", known=", ".join(map(repr, ("auto", *_TYPES))), name=repr(name))
    if device.type == "cuda":
        return Precision("cuda", torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)
    native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return Precision(device.type, torch.bfloat16 if native else torch.float32)
