"""In the place of the bundle's workflow, behind the bundle's own worker: behaves, or misbehaves, as a request asks."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from monai.bundle.__main__ import main  # type: ignore[attr-defined]  # the stand-in's monai, not the real one


class KeptWorkflow:
    """Reads a study in the worker's process."""

    def prepare(self, arguments: Sequence[str]) -> int:
        sys.stderr.write("INFO prepared\n")
        return 0

    def read(self, arguments: Sequence[str]) -> int:
        sys.argv[1:] = arguments
        return main()
