"""MONAI's workflow of a run, kept from one study to the next with its parsed configuration and its network.

A study goes through the same code as with ``python -m monai.bundle run``: arguments are read by fire, the
configuration by MONAI's ``ConfigWorkflow``, and the run ends by :mod:`scripts.exit_status`. What differs is that
``initialize``, which loads and fuses the network, is called once for equal settings.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fire
import torch
from monai.bundle import ConfigWorkflow
from monai.bundle.scripts import create_workflow

from scripts.exit_status import EVALUATED, NOT_EVALUABLE, ending_of, install_handlers
from scripts.intake.discovery import StudySource

PER_STUDY = ("dataset_dir", "output_dir", "datalist")
"""Settings that belong to a study; all others decide what is kept."""

NETWORK = "network_def"
_FOLDERS = ("configs", "models")
# What a run resolves and no study decides. Resolving imports the code behind it.
_PREPARED = ("network", "preprocessing", "inferer", "reader")


class KeptWorkflow:
    """Reads studies with one workflow at a time: that of the latest settings.

    It is made anew where a setting or a file in the bundle's ``configs`` or ``models`` has changed, and after every
    study that was neither evaluated nor refused, so that no failure reaches into the next study.
    """

    def __init__(self) -> None:
        install_handlers()
        self._key: object = None
        self._workflow: ConfigWorkflow | None = None

    def prepare(self, arguments: Sequence[str]) -> int:
        """Make the workflow before there is a study.

        Parameters
        ----------
        arguments : sequence of str
            Those of ``python -m monai.bundle``, without a study.

        Returns
        -------
        int
            Exit status, as of a run.
        """
        return self._end(arguments, self._prepare)

    def read(self, arguments: Sequence[str]) -> int:
        """Read the study (or the folder of studies) of a command line; return the exit status of the run."""
        return self._end(arguments, self._run)

    def read_found(self, arguments: Sequence[str], sources: Sequence[StudySource]) -> int:
        """Read studies that were found already, in the place of those of a folder; return the exit status of the run.

        Whoever calls this once does not call :meth:`read`: the studies stay in the workflow.
        """

        def run(**settings: Any) -> None:
            self._run(**settings, datalist=list(sources))

        return self._end(arguments, run)

    def _end(self, arguments: Sequence[str], act: Callable[..., None]) -> int:
        # Where the bundle's own code asks for the command line (scripts.renamed_settings)
        sys.argv[1:] = arguments
        try:
            fire.Fire({"run": act}, command=list(arguments), name="monai.bundle")
        except BaseException as error:
            # A run may end by any of them, and the next study is read.
            status = ending_of(error)
        else:
            status = EVALUATED
        if status not in (EVALUATED, NOT_EVALUABLE):
            self._forget()
        # MONAI's run puts the bundle's folder in front each time.
        sys.path[:] = dict.fromkeys(sys.path)
        _give_memory_back()
        return status

    def _prepare(self, **arguments: Any) -> None:
        parser = self._fitting(arguments).parser
        for item in _PREPARED:
            if item in parser:
                parser.get_parsed_content(item)

    def _run(self, **arguments: Any) -> None:
        workflow = self._fitting(arguments)
        workflow.run()
        workflow.finalize()

    def _fitting(self, arguments: dict[str, Any]) -> ConfigWorkflow:
        """Return the workflow for these arguments, its network in evaluation mode and nothing of a study in it."""
        key = _key_of(arguments)
        if self._workflow is None or key != self._key:
            self._forget()
            self._workflow, self._key = create_workflow(**arguments), key
            return self._workflow
        parser = self._workflow.parser
        network = parser.get_parsed_content(NETWORK)
        parser.update({name: arguments[name] for name in PER_STUDY if name in arguments})
        # The object itself, in the place of its description: everything else is resolved anew.
        parser[NETWORK] = network
        parser.parse(reset=True)
        return self._workflow

    def _forget(self) -> None:
        self._workflow, self._key = None, None


def _key_of(arguments: dict[str, Any]) -> object:
    """Return what decides the workflow: settings, and the state of the files that it is made from."""
    root = Path(str(arguments.get("bundle_root", ".")))
    files = sorted(file for folder in _FOLDERS for file in (root / folder).rglob("*") if file.is_file())
    states = [(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    return sorted((name, repr(value)) for name, value in arguments.items() if name not in PER_STUDY), states


def _give_memory_back() -> None:
    """Free what a study leaves: the engine and what it refers to form cycles, and other programs need the card."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
