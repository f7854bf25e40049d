"""Whether every installed system's weights fill their network, asked of the bundle in a child process.

Standard library only: torch must never be imported inside the application.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..messages import MessageError, message
from .child_answer import ChildFailedError, answer_of

_ANSWER = "WEIGHTS "
_SECONDS = 600.0


class WeightsQueryError(MessageError):
    """The bundle could not be asked about its weights."""


@dataclass(frozen=True)
class SystemWeights:
    """The weights of one installed system.

    Attributes
    ----------
    title : str
        Of the system, as a person reads it.
    file : str
        Path inside the bundle.
    stated : bool
        Whether the bundle states their sha256, which then was compared.
    fault : str
        Why they cannot be used; empty where they fill their network.
    """

    title: str
    file: str
    stated: bool
    fault: str

    def describe(self) -> str:
        """Return the line for the user."""
        if self.fault:
            return message("weights.unusable", title=self.title, file=self.file, fault=self.fault)
        if self.stated:
            return message("weights.usable", title=self.title, file=self.file)
        return message("weights.usable_own", title=self.title, file=self.file)


def query_weights(
    python: Path, bundle_root: Path, environment: Mapping[str, str], seconds: float = _SECONDS
) -> tuple[SystemWeights, ...]:
    """Have the bundle load the weights of every installed system into their networks, one after the other.

    Parameters
    ----------
    python : Path
        Python that runs the bundle.
    bundle_root : Path
        Folder of the bundle.
    environment : mapping of str to str
        Environment to start from.
    seconds : float
        How long to wait (s).

    Raises
    ------
    WeightsQueryError
        If the bundle does not answer.
    """
    command = ["-m", "scripts.installed_weights", "--bundle_root", str(bundle_root.resolve())]
    try:
        answers = answer_of(python, command, environment, _ANSWER, seconds, bundle_root)
    except ChildFailedError as failure:
        raise WeightsQueryError("weights.not_checked", error=failure.reason) from failure
    contents = [json.loads(answer) for answer in answers]
    return tuple(SystemWeights(one["title"], one["file"], bool(one["stated"]), one["fault"]) for one in contents)
