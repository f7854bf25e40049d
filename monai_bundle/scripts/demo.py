"""What ``make demo`` runs: two phantoms through the bundle, or a study of one's own, then what was found in a table.

Without a study of the user's own it draws two heads, one with haemorrhages and one without, shows the truth beside the
findings and volumes, and states in one sentence for each head what was found, missed, or found without being there. It
ends with the bundle's status: a missed haemorrhage is stated, and is no failure of the program.

    python -m scripts.demo [--study STUDY] [--output OUTPUT]
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.labels import LESION_GROUPS, TOTAL_GROUP
from scripts.messages import message

BUNDLE_ROOT = Path(__file__).resolve().parents[1]
STUDIES, TRUTH_FILE = "studies", "truth.json"
SUMMARY_FILE = "summary.txt"
EXIT_FAILURE, EXIT_CANCELLED = 1, 130

Truth = Mapping[str, float]
"""True volume in ml of each subtype that a head has; empty where it has no haemorrhage."""

logger = logging.getLogger(__name__)


def write_phantoms(folder: Path) -> int:
    """Draw the demo's heads into a folder, see :mod:`scripts.synthesis.demo_phantoms`; return the exit status."""
    return run_python(["-m", "scripts.synthesis.demo_phantoms", "--output", str(folder)])


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


def summary(result: dict[str, Any], report: Path, truth: Truth | None = None) -> str:
    """Lay out one result for the terminal.

    Parameters
    ----------
    result : dict
        The content of ``result.json`` (docs/result.schema.json), of version 1 or 2.
    report : Path
        Where the report lies.
    truth : mapping of str to float, optional
        Subtype to its true volume in ml; None where nobody knows.

    Returns
    -------
    str
        The impression, its caution, one line per finding, the volumes and, where the truth is known, the sentence of
        :func:`statement`; or the reason why there is none; then the report's path.
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
            *_volumes(result, truth),
            *([] if truth is None else [statement(name, findings, truth)]),
            written,
        ]
    )


def statement(name: str, findings: Sequence[Mapping[str, Any]], truth: Truth) -> str:
    """State in one sentence what a phantom is, and which labels were found, missed, or found without being there.

    Parameters
    ----------
    name : str
        Of the head.
    findings : sequence of mapping
        The result's findings: ``key``, ``name`` and ``positive`` of each label.
    truth : mapping of str to float
        As for :func:`summary`.
    """
    groups: dict[tuple[bool, bool], list[str]] = {}
    for finding in findings:
        groups.setdefault((_is_present(finding["key"], truth), bool(finding["positive"])), []).append(finding["name"])
    found, missed, false = (groups.get(kind, []) for kind in ((True, True), (True, False), (False, True)))
    parts = []
    if found:
        parts.append(message("terminal.statement_found", labels=", ".join(found)))
    if truth:
        parts.append(
            message("terminal.statement_missed", labels=", ".join(missed))
            if missed
            else message("terminal.statement_none_missed")
        )
    parts.append(
        message("terminal.statement_false", labels=", ".join(false))
        if false
        else message("terminal.statement_none_false")
    )
    blood = (
        message("terminal.statement_blood", ml=f"{sum(truth.values()):.0f}")
        if truth
        else message("terminal.statement_no_blood")
    )
    return message("terminal.statement", name=name, blood=blood, findings="; ".join(parts))


def _is_present(key: str, truth: Truth) -> bool:
    return bool(truth) if key == "any" else key in truth


def _heading(*, with_truth: bool) -> str:
    finding, probability, threshold, result, truth = (
        message(f"terminal.column_{column}") for column in ("finding", "probability", "threshold", "result", "truth")
    )
    return f"{finding:<32}{probability:>12}{threshold:>11}  {result:<9}{truth if with_truth else ''}".rstrip()


def _row(finding: dict[str, Any], truth: Truth | None) -> str:
    result = message("terminal.positive" if finding["positive"] else "terminal.negative")
    star = "*" if finding["default_threshold"] else " "
    row = f"{finding['name']:<32}{finding['probability']:>12.3f}{finding['threshold']:>11.3f}{star} {result:<9}"
    if truth is None:
        return row.rstrip()
    return row + message("terminal.present" if _is_present(finding["key"], truth) else "terminal.absent")


def _volumes(result: Mapping[str, Any], truth: Truth | None) -> list[str]:
    """Lay out the volumes of the lesion map; nothing where the network has no lesion decoder, or states none."""
    if result.get("lesions") is None or "volumes_left_out" in result["lesions"]:
        return []
    found = {entry["group"]: entry for entry in result["lesions"]["volumes"]}
    true_ml = {group.key: sum((truth or {}).get(key, 0.0) for key in group.labels) for group in LESION_GROUPS}
    true_ml = {TOTAL_GROUP: sum(true_ml.values()), **true_ml}
    columns = [message("terminal.column_volume"), message("terminal.column_interval")]
    lines = [f"{columns[0]:<32}{'ml':>12}  {columns[1]:<16}"]
    if truth is not None:
        lines[0] += message("terminal.column_truth")
    for group, true in true_ml.items():
        if group != TOTAL_GROUP and group not in found and not true:
            continue
        entry, name = found.get(group, {"ml": 0.0}), message(f"terminal.volume_{group}")
        line = f"{name:<32}{entry['ml']:>12.1f}  {_interval(entry):<16}"
        lines.append(line if truth is None else f"{line}{true:.1f} ml")
    return [line.rstrip() for line in lines]


def _interval(entry: Mapping[str, Any]) -> str:
    if entry.get("low_ml") is None or entry.get("high_ml") is None:
        return ""
    return message("terminal.interval", low=f"{entry['low_ml']:.1f}", high=f"{entry['high_ml']:.1f}")


def fresh_results(results: Path, before: dict[Path, int]) -> list[Path]:
    """Return the result files that are new or rewritten since ``result_files`` was asked, by name."""
    return [file for file, written in sorted(result_files(results).items()) if before.get(file) != written]


def result_files(results: Path) -> dict[Path, int]:
    """Return each ``result.json`` under a folder with its time of writing (ns)."""
    return {file: file.stat().st_mtime_ns for file in results.glob("*/result.json")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status of the bundle."""
    parser = argparse.ArgumentParser(prog="python -m scripts.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path, help="your own head CT; without it two phantoms are drawn")
    parser.add_argument("--output", type=Path, default=Path("output/demo"), help="folder for results")
    options = parser.parse_args(arguments)
    if options.study is not None and not options.study.exists():
        logger.error("%s", message("terminal.no_such_study", study=options.study))
        return EXIT_FAILURE

    study = options.study
    truth: dict[str, Truth] = {}
    if study is None:
        phantoms = (options.output / "phantom").resolve()
        if status := write_phantoms(phantoms):
            return status
        study = phantoms / STUDIES
        truth = json.loads((phantoms / TRUTH_FILE).read_text(encoding="utf-8"))["volume_ml"]
    before = result_files(options.output)
    status = read_study(study, options.output)
    shown = [_shown(file, truth) for file in fresh_results(options.output, before)]
    if shown:
        text = "\n\n".join(shown) + "\n"
        (options.output / SUMMARY_FILE).write_text(text, encoding="utf-8")
        sys.stdout.write("\n" + text)
    return status


def _shown(file: Path, truth: Mapping[str, Truth]) -> str:
    result = json.loads(file.read_text(encoding="utf-8"))
    return summary(result, file.with_name("report.html"), truth.get(result["study"]["source_name"]))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(EXIT_CANCELLED)
