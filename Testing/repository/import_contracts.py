"""The one import contract that import-linter does not bring: packages that need Python's standard library alone."""

from __future__ import annotations

import sys

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class StandardLibraryContract(Contract):
    """The source modules, and every module of ours that they import, import nothing beyond the standard library."""

    type_name = "standard_library"

    source_modules = fields.SetField(subfield=fields.ModuleField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Collect each import of a foreign package, as ``importer -> imported``."""
        sources = {module.name for module in self.source_modules}  # type: ignore[attr-defined]
        absent = sorted(sources - graph.modules)
        needed = sources | {below for source in sources - set(absent) for below in graph.find_descendants(source)}
        waiting = sorted(needed - set(absent))
        foreign = set()
        while waiting:
            importer = waiting.pop()
            for imported in graph.find_modules_directly_imported_by(importer):
                if not graph.is_module_squashed(imported):
                    if imported not in needed:
                        needed.add(imported)
                        waiting.append(imported)
                elif imported.partition(".")[0] not in sys.stdlib_module_names:
                    foreign.add(f"{importer} -> {imported}")
        found = [f"{name} does not exist" for name in absent] + sorted(foreign)
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print what :meth:`check` collected."""
        for line in check.metadata["found"]:
            output.print_error(f"- {line}", bold=False)
