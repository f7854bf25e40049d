"""Settings that only the machine or a file can judge: the named error, and the device."""

from __future__ import annotations

import torch


class SettingError(ValueError):
    """A setting of the run cannot be used; the message is one line that says what to choose instead."""


def usable_device(device: str | torch.device) -> torch.device:
    """Return the device that was asked for.

    Parameters
    ----------
    device : str or torch.device
        For example ``"cpu"`` or ``"cuda:0"``.

    Raises
    ------
    SettingError
        If torch knows no such device, or cannot use it on this machine.
    """
    try:
        wanted = torch.device(device)
        torch.zeros(1, device=wanted)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        fault = str(error).splitlines()[0].rstrip(".")
        raise SettingError(
            f"device {str(device)!r} cannot be used here ({fault}); run again with --device cpu"
        ) from error
    return wanted
