"""Which ways to train are compared, and in which tables: ``plan.json``, with shared overrides in ``overrides/``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from research.training.protocol import Variant

PLAN = Path(__file__).with_name("plan.json")
OVERRIDES = Path(__file__).with_name("overrides")


@dataclass(frozen=True)
class PlannedTable:
    """One ablation; its heading and its text are in ``templates/ablations.md.j2``.

    Attributes
    ----------
    key : str
        Its name.
    rows : tuple of str
        Names of variants, in the order of the table.
    against : str or None
        The variant that the others are tested against.
    repetitions : bool
        Whether the rows are repetitions, whose mean and standard deviation are given.
    """

    key: str
    rows: tuple[str, ...]
    against: str | None
    repetitions: bool = False


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes
    ----------
    shipped : str
        Name of the variant whose weights the bundle ships.
    variants : tuple of Variant
        Every way to train, the shipped one first.
    tables : tuple of PlannedTable
        In the order of the report.
    ensembles : mapping
        Name of an ensemble to the variants whose probabilities it averages.
    ensemble_titles : mapping
        Name of an ensemble to its title.
    """

    shipped: str
    variants: tuple[Variant, ...]
    tables: tuple[PlannedTable, ...]
    ensembles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ensemble_titles: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Put the shipped variant first, and hold the tables to the variants.

        Raises
        ------
        ValueError
            If two variants share a name, or one is named that does not exist.
        """
        names = [*(variant.name for variant in self.variants), *self.ensembles]
        if len(set(names)) != len(names):
            raise ValueError("two variants share a name")
        in_tables = {name for table in self.tables for name in (*table.rows, table.against) if name}
        in_ensembles = {name for members in self.ensembles.values() for name in members}
        if unknown := sorted(({self.shipped} | in_tables | in_ensembles) - set(names)):
            raise ValueError(f"no such variant: {', '.join(unknown)}")
        shipped_first = sorted(self.variants, key=lambda variant: variant.name != self.shipped)
        object.__setattr__(self, "variants", tuple(shipped_first))

    @property
    def titles(self) -> dict[str, str]:
        """Name of every variant and ensemble to the name of its row in a table."""
        return {variant.name: variant.title for variant in self.variants} | dict(self.ensemble_titles)


def read_plan(path: Path = PLAN, overrides: Path = OVERRIDES) -> Plan:
    """Read the plan.

    Parameters
    ----------
    path : Path
        A JSON file with ``shipped``, ``variants``, ``tables`` and, optionally, ``ensembles``. A variant has ``name``,
        ``title``, ``overrides`` (names of files), ``set`` (values of ``train.json``), ``finetuning`` (values of
        ``finetune.json``, null for a frozen backbone), ``slices`` (values of ``train_slices.json``, for a backbone that
        is trained as a whole) and ``test_time_augmentations``.
    overrides : Path
        Folder of the files; later ones, and ``set``, override earlier ones.

    Raises
    ------
    ValueError
        If the file is no such plan, names an override that does not exist, or does not fit together.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        variants = tuple(_variant(entry, overrides) for entry in content["variants"])
        tables = tuple(PlannedTable(**{**table, "rows": tuple(table["rows"])}) for table in content["tables"])
        ensembles = content.get("ensembles", ())
        return Plan(
            content["shipped"],
            variants,
            tables,
            {entry["name"]: tuple(entry["members"]) for entry in ensembles},
            {entry["name"]: entry["title"] for entry in ensembles},
        )
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    except (KeyError, TypeError, OSError) as error:
        raise ValueError(f"{path.name}: no plan of the evidence ({type(error).__name__}: {error})") from error


def _variant(entry: Mapping[str, Any], folder: Path) -> Variant:
    heads: dict[str, Any] = {}
    for name in entry.get("overrides", ()):
        heads |= json.loads((folder / f"{name}.json").read_text("utf-8"))
    heads |= entry.get("set", {})
    return Variant(
        entry["name"],
        entry["title"],
        heads,
        entry.get("finetuning"),
        entry.get("test_time_augmentations", 1),
        entry.get("slices"),
    )
