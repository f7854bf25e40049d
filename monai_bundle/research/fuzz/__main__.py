"""Send mutated studies through the intake, and count what becomes of them.

    python -m research.fuzz [--studies N] [--seed S] [--only MUTATION]

Returns 1 where one ended by an error, was refused for one that nobody foresaw, took too long, or gave a study that
differs from the truth without a warning. The same seed makes the same studies.
"""

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from research.fuzz.files import Head, two_heads
from research.fuzz.mutations import MUTATIONS
from research.fuzz.outcome import Outcome, outcomes

SECONDS_PER_STUDY = 800
"""Far above what a study takes on a machine that leaves it a twentieth of a core, ITK's first use included."""
FAULTS = (Outcome.SILENT, Outcome.UNFORESEEN, Outcome.TRACEBACK)

logger = logging.getLogger(__name__)


class HangError(Exception):
    """The intake did not return."""


@contextmanager
def ended_after(seconds: int) -> Iterator[None]:
    """Raise :class:`HangError` in the block where it takes longer; only in the main thread, and not on Windows."""

    def hang(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(studies: int, seed: int, heads: tuple[Head, Head], only: str | None = None) -> dict[str, Counter[str]]:
    """Mutate and read studies; each kind of mutation in turn.

    Parameters
    ----------
    studies : int
        Number of mutated folders.
    seed : int
        Of the whole run; study ``n`` depends on it and on ``n`` alone.
    heads : tuple of Head
        From :func:`two_heads`.
    only : str, optional
        One kind of mutation.

    Returns
    -------
    dict
        For each kind of mutation, how many studies had which outcome.
    """
    kinds = [only] if only else list(MUTATIONS)
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    for number in range(studies):
        kind = kinds[number % len(kinds)]
        with tempfile.TemporaryDirectory(prefix="fuzz-") as place, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            folder = Path(place) / "study"
            folder.mkdir()
            MUTATIONS[kind](random.Random(f"{seed}-{number}"), heads, folder)
            try:
                with ended_after(SECONDS_PER_STUDY):
                    found: list[str] = [outcome.value for outcome in outcomes(folder, heads)]
            except HangError:
                found = ["hung"]
        counts[kind].update(found)
        for outcome in set(found) & {*(fault.value for fault in FAULTS), "hung"}:
            logger.error("study %d (%s): %s", number, kind, outcome)
    return counts


def table(counts: dict[str, Counter[str]]) -> str:
    """Lay out the counts as a table in Markdown: a row per kind of mutation, and their sum."""
    columns = [*(outcome.value for outcome in Outcome), "hung"]
    total: Counter[str] = sum(counts.values(), Counter())
    rows = [("mutation", *columns), ("---", *("---:" for _ in columns))]
    for kind, found in (*counts.items(), ("all", total)):
        rows.append((kind.replace("_", " "), *(str(found[column]) for column in columns)))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return 1 where there is a fault, else 0."""
    parser = argparse.ArgumentParser(prog="python -m research.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=500, help="number of mutated studies")
    parser.add_argument("--seed", type=int, default=11, help="seed of the run")
    parser.add_argument("--only", choices=sorted(MUTATIONS), help="one kind of mutation")
    chosen = parser.parse_args(arguments)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    counts = fuzz(chosen.studies, chosen.seed, two_heads(), chosen.only)
    sys.stdout.write(f"{table(counts)}\n")
    total: Counter[str] = sum(counts.values(), Counter())
    return int(any(total[name] for name in (*(fault.value for fault in FAULTS), "hung")))


if __name__ == "__main__":
    sys.exit(main())
