"""Which build of torch this computer can have, known before anything is installed. Standard library only."""

from __future__ import annotations

import functools
import platform
import shutil
import subprocess
from dataclasses import dataclass
from enum import Enum

from ..messages import message

_QUERY_SECONDS = 10.0


class TorchBuild(Enum):
    """The builds of torch that differ in size."""

    CUDA = "CUDA"
    CPU = "CPU"
    APPLE = "Apple"
    NONE = "none"


@dataclass(frozen=True)
class Computer:
    """What decides about the build of torch.

    Attributes
    ----------
    system : str
        ``"Linux"``, ``"Windows"`` or ``"Darwin"``.
    machine : str
        Architecture of this Python, for example ``"x86_64"``.
    translated : bool
        Whether this Python is one for Intel that runs on Apple silicon, by Rosetta.
    nvidia : bool
        Whether the driver of an NVIDIA graphics card answers.
    """

    system: str
    machine: str
    translated: bool = False
    nvidia: bool = False

    @property
    def torch_build(self) -> TorchBuild:
        """The build that an installation would bring."""
        if self.system == "Darwin":
            return TorchBuild.APPLE if self.machine == "arm64" else TorchBuild.NONE
        return TorchBuild.CUDA if self.nvidia else TorchBuild.CPU

    @property
    def obstacle(self) -> str:
        """Why no torch that will do exists for this computer; empty where one does."""
        if self.torch_build is not TorchBuild.NONE:
            return ""
        return message("install.rosetta") if self.translated else message("install.intel_mac")


@functools.lru_cache(maxsize=1)
def this_computer() -> Computer:
    """Describe the computer that this Python runs on."""
    system = platform.system()
    translated = system == "Darwin" and _output("sysctl", "-n", "sysctl.proc_translated") == "1"
    # The question that light-the-torch asks: a card without its driver is of no use.
    nvidia = system != "Darwin" and bool(_output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"))
    return Computer(system, platform.machine(), translated, nvidia)


def _output(*command: str) -> str:
    """Run a small program; return what it printed, empty where there is none or it failed."""
    program = shutil.which(command[0])
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_QUERY_SECONDS,
            check=False,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
