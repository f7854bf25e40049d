"""Which ways to train are compared, and in which tables: ``plan.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PLAN = Path(__file__).with_name("plan.json")


@dataclass(frozen=True)
class PlannedTable:
    """One ablation.

    Attributes
    ----------
    key, title, text : str
        Name, heading and what the table is to show.
    rows : tuple of str
        Names of variants, in the order of the table.
    against : str or None
        The variant that the others are tested against.
    spread : bool
        Whether the rows are repetitions, whose mean and standard deviation are given.
    """

    key: str
    title: str
    text: str
    rows: tuple[str, ...]
    against: str | None
    spread: bool = False


@dataclass(frozen=True)
class Plan:
    """What is compared; how each variant is trained, :mod:`research.evidence.variants` reads from the same file.

    Attributes
    ----------
    shipped : str
        Name of the variant whose weights the bundle carries.
    titles : mapping
        Name of every variant to what a person calls it.
    tables : tuple of PlannedTable
        In the order of the report.
    remarks : tuple of str
        Paragraphs on how far the shipped variant got, and why; words only.
    sources : tuple of mapping
        ``name``, ``use`` and ``terms`` of everything that the shipped weights were made with.
    ensembles : mapping
        Name of an ensemble to the variants whose answers it averages.
    """

    shipped: str
    titles: Mapping[str, str]
    tables: tuple[PlannedTable, ...]
    remarks: tuple[str, ...] = ()
    sources: tuple[Mapping[str, str], ...] = ()
    ensembles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Hold the tables to the variants.

        Raises
        ------
        ValueError
            If a variant is named that does not exist.
        """
        in_tables = {name for table in self.tables for name in (*table.rows, table.against) if name}
        in_ensembles = {name for names in self.ensembles.values() for name in names}
        named = {self.shipped} | in_tables | in_ensembles
        if unknown := sorted(named - set(self.titles)):
            raise ValueError(f"no such variant: {', '.join(unknown)}")


def read_plan(path: Path = PLAN) -> Plan:
    """Read the plan.

    Raises
    ------
    ValueError
        If the file is no such plan, or two variants share a name.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        titles = {variant["name"]: variant["title"] for variant in content["variants"]}
        tables = tuple(PlannedTable(**{**table, "rows": tuple(table["rows"])}) for table in content["tables"])
        titles |= {ensemble["name"]: ensemble["title"] for ensemble in content.get("ensembles", ())}
        ensembles = {ensemble["name"]: tuple(ensemble["members"]) for ensemble in content.get("ensembles", ())}
        remarks, sources = (tuple(content.get(name, ())) for name in ("remarks", "sources"))
        plan = Plan(content["shipped"], titles, tables, remarks, sources, ensembles)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name}: no plan of the evidence ({type(error).__name__}: {error})") from error
    if len(titles) != len(content["variants"]) + len(ensembles):
        raise ValueError(f"{path.name}: two variants share a name")
    return plan
