"""Check the weights of every installed system: whether they are those that are stated, and fill their network.

    python -m scripts.installed_weights

writes a line per system to standard output: ``WEIGHTS`` and a JSON object, see :func:`check_system`.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.messages import ExpectedError
from scripts.systems import SHIPPED_CONFIGURATION, System, systems
from scripts.weights import expected_sha256, load_network

BUNDLE_ROOT = Path(__file__).resolve().parents[1]
PREFIX = "WEIGHTS "

logger = logging.getLogger(__name__)


def check_system(bundle_root: Path, system: System) -> dict[str, Any]:
    """Load the weights of one system into its network, as a run does.

    Parameters
    ----------
    bundle_root : Path
        The bundle's folder.
    system : System
        One whose weights exist.

    Returns
    -------
    dict
        ``title``; ``file``, the path of its weights inside the bundle; ``stated``, whether the metadata state their
        sha256; ``fault``, one line, empty where all is well.
    """
    from monai.bundle import ConfigParser  # noqa: PLC0415 - takes seconds to import

    fault = ""
    try:
        files = dict.fromkeys((f"configs/{SHIPPED_CONFIGURATION}", system.configuration))
        parser = ConfigParser(ConfigParser.load_config_files([str(bundle_root / file) for file in files]))
        parser["bundle_root"] = str(bundle_root)
        load_network(parser.get_parsed_content("network_def"), bundle_root, system.model_file)
    except ExpectedError as error:
        fault = str(error)
    except Exception as error:
        # A system that cannot even be built is not a reason to leave the others unchecked.
        logger.exception("%s", system.name)
        fault = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    stated = system.model_file in expected_sha256(bundle_root)
    return {"title": system.title, "file": system.model_file, "stated": stated, "fault": fault}


def main(arguments: Sequence[str] | None = None) -> None:
    """Check every installed system."""
    parser = argparse.ArgumentParser(prog="python -m scripts.installed_weights", description=__doc__.splitlines()[0])
    parser.add_argument("--bundle_root", type=Path, default=BUNDLE_ROOT)
    root = parser.parse_args(arguments).bundle_root
    for system in systems(root):
        if system.installed:
            sys.stdout.write(PREFIX + json.dumps(check_system(root, system)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
