"""What ``make demo`` runs: a study through the bundle, then its impression and findings in a short table.

Without a study of the user's own it writes a phantom with haemorrhage first, and shows the truth beside the findings.

    python -m scripts.demo [--study STUDY] [--output OUTPUT]
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.messages import message

BUNDLE_ROOT = Path(__file__).resolve().parents[1]
PHANTOM_KINDS = ("intraparenchymal", "subdural")
EXIT_FAILURE, EXIT_CANCELLED = 1, 130

logger = logging.getLogger(__name__)


def write_phantom(folder: Path) -> int:
    """Write the phantom, a DICOM series in ``ct`` with its true masks beside; return the exit status of the writer."""
    command = ["-m", "scripts.phantom", "--format", "dicom", "--output", str(folder)]
    for kind in PHANTOM_KINDS:
        command += ["--haemorrhage", kind]
    return run_python(command)


def read_study(study: Path, results: Path) -> int:
    """Run the bundle on one study (or a folder of studies); return its exit status.

    0 all studies evaluated, 3 some not evaluable, 1 failure, 130 cancelled.
    """
    command = ["-m", "scripts.quick_start", "run", "--config_file", "configs/inference.json"]
    command += ["--logging_file", "configs/logging.conf"]
    command += ["--dataset_dir", str(study.resolve()), "--output_dir", str(results.resolve())]
    return run_python(command)


def run_python(arguments: Sequence[str]) -> int:
    """Run this Python in the bundle's folder; return its exit status, 130 where it was interrupted or terminated."""
    status = subprocess.run([sys.executable, *arguments], cwd=BUNDLE_ROOT, check=False).returncode
    # The status of a process that a signal ended is the signal's negative number.
    return EXIT_CANCELLED if status in (-signal.SIGINT, -signal.SIGTERM) else EXIT_FAILURE if status < 0 else status


def summary(result: dict[str, Any], report: Path, truth: Sequence[str] | None = None) -> str:
    """Lay out one result for the terminal.

    Parameters
    ----------
    result : dict
        The content of ``result.json`` (docs/result.schema.json), of version 1 or 2.
    report : Path
        Where the report lies.
    truth : sequence of str, optional
        Keys of the kinds of haemorrhage that are known to be there; None where nobody knows.

    Returns
    -------
    str
        The impression, its caution and one line per finding, or the reason why there is none; then the report's path.
    """
    # Nothing heavy is imported before it is needed: the bench measures the memory of the process that it starts from.
    from scripts.output.earlier_version import brought_up_to_date  # noqa: PLC0415

    result = brought_up_to_date(result)
    name, written = result["study"]["source_name"], message("terminal.report", path=report)
    if result["status"] == "not_evaluable":
        return "\n".join([message("terminal.not_evaluable", name=name, reason=result["reason"]["message"]), written])
    impression, findings = result["impression"], result["findings"]
    default = [f"* {message('report.default_threshold')}"] if any(row["default_threshold"] for row in findings) else []
    return "\n".join(
        [
            f"{name}: {result['model']['notice']}",
            f"{impression['text']}. {impression['caution']}",
            _heading(with_truth=truth is not None),
            *(_row(finding, truth) for finding in findings),
            *default,
            written,
        ]
    )


def _heading(*, with_truth: bool) -> str:
    finding, probability, threshold, result, truth = (
        message(f"terminal.column_{column}") for column in ("finding", "probability", "threshold", "result", "truth")
    )
    return f"{finding:<32}{probability:>12}{threshold:>11}  {result:<9}{truth if with_truth else ''}".rstrip()


def _row(finding: dict[str, Any], truth: Sequence[str] | None) -> str:
    result = message("terminal.positive" if finding["positive"] else "terminal.negative")
    star = "*" if finding["default_threshold"] else " "
    row = f"{finding['name']:<32}{finding['probability']:>12.3f}{finding['threshold']:>11.3f}{star} {result:<9}"
    if truth is None:
        return row.rstrip()
    present = bool(truth) if finding["key"] == "any" else finding["key"] in truth
    return row + message("terminal.present" if present else "terminal.absent")


def fresh_results(results: Path, before: dict[Path, int]) -> list[Path]:
    """Return the result files that are new or rewritten since ``result_files`` was asked, by name."""
    return [file for file, written in sorted(result_files(results).items()) if before.get(file) != written]


def result_files(results: Path) -> dict[Path, int]:
    """Return each ``result.json`` under a folder with its time of writing (ns)."""
    return {file: file.stat().st_mtime_ns for file in results.glob("*/result.json")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status of the bundle."""
    parser = argparse.ArgumentParser(prog="python -m scripts.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path, help="your own head CT; without it a phantom is made")
    parser.add_argument("--output", type=Path, default=Path("output/demo"), help="folder for results")
    options = parser.parse_args(arguments)
    if options.study is not None and not options.study.exists():
        logger.error("%s", message("terminal.no_such_study", study=options.study))
        return EXIT_FAILURE

    study, truth = options.study, None
    if study is None:
        phantom = (options.output / "phantom").resolve()
        study, truth = phantom / "ct", PHANTOM_KINDS
        if status := write_phantom(phantom):
            return status
    before = result_files(options.output)
    status = read_study(study, options.output)
    for file in fresh_results(options.output, before):
        result = json.loads(file.read_text(encoding="utf-8"))
        sys.stdout.write("\n" + summary(result, file.with_name("report.html"), truth) + "\n")
    return status


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(EXIT_CANCELLED)
