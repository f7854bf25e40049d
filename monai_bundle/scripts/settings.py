"""Settings that only the machine or a file can judge: the named error, and the device."""

from __future__ import annotations

import torch

from scripts.messages import ExpectedError


class SettingError(ExpectedError):
    """A setting of the run cannot be used."""


def is_on(name: str, value: object) -> bool:
    """Return whether a switch is on; the command line gives ``true`` and ``false`` as text.

    Parameters
    ----------
    name : str
        The setting, for the error.
    value : bool or str
        As it was set.

    Raises
    ------
    SettingError
        If it is neither true nor false.
    """
    known = {"true": True, "false": False}
    if str(value).lower() not in known:
        raise SettingError("settings.switch", name=name, value=value)
    return known[str(value).lower()]


def usable_device(device: str | torch.device) -> torch.device:
    """Return a device, checked.

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
        usable = torch.device(device)
        torch.zeros(1, device=usable)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        fault = str(error).splitlines()[0].rstrip(".")
        raise SettingError("settings.device", device=str(device), fault=fault) from error
    return usable
