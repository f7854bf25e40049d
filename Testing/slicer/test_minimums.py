"""Every minimum that is stated can be had, with the others, beside the packages that each Slicer brings.

``package_index.json`` holds what the packages state about themselves (recorded by ``setup/package_index.py``); pip's
own resolver chooses among them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from package_sets import LOWEST, SLICER, pins, stated_requirements
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from pip._vendor.resolvelib import AbstractProvider, BaseReporter, ResolutionImpossible, Resolver

from ICHDiagnosisLib.install.requirements import requirement_lines

INDEX = Path(__file__).parent / "package_index.json"
ENVIRONMENTS = [
    {"sys_platform": platform, "platform_system": system, "python_version": "3.12", "python_full_version": "3.12.10"}
    for platform, system in (("linux", "Linux"), ("win32", "Windows"), ("darwin", "Darwin"))
]


class Candidate(NamedTuple):
    name: str
    version: Version


class RecordedIndex(AbstractProvider):
    """The packages that were recorded, for one platform."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        recorded = json.loads(INDEX.read_text(encoding="utf-8"))
        self._packages = {canonicalize_name(name): versions for name, versions in recorded.items()}
        self._environment = {**environment, "extra": ""}

    def versions(self, name: str) -> list[Version]:
        return sorted(map(Version, self._packages.get(canonicalize_name(name), ())))

    def identify(self, requirement_or_candidate: Any) -> str:
        return canonicalize_name(requirement_or_candidate.name)

    def get_preference(self, identifier: str, **_: Any) -> str:  # type: ignore[override]
        return identifier

    def find_matches(self, identifier: str, requirements: Any, incompatibilities: Any) -> Sequence[Candidate]:
        wanted = list(requirements[identifier])
        refused = {candidate.version for candidate in incompatibilities[identifier]}
        found = [
            Candidate(identifier, version)
            for version in self.versions(identifier)
            if version not in refused
            and all(version in each.specifier for each in wanted)
            and self._runs(identifier, version)
        ]
        return sorted(found, key=attrgetter("version"), reverse=True)

    def is_satisfied_by(self, requirement: Any, candidate: Any) -> bool:
        return candidate.version in requirement.specifier

    def get_dependencies(self, candidate: Any) -> Iterator[Requirement]:
        for line in self._stated(candidate.name, candidate.version)["requires"]:
            requirement = Requirement(line)
            # Libraries of NVIDIA are pinned by torch alone, and nothing else needs them.
            of_torch = requirement.name.startswith(("nvidia-", "cuda-", "triton"))
            if not of_torch and (requirement.marker is None or requirement.marker.evaluate(self._environment)):
                yield requirement

    def _runs(self, name: str, version: Version) -> bool:
        python = self._stated(name, version)["requires_python"]
        return python is None or Version("3.12.10") in SpecifierSet(python)

    def _stated(self, name: str, version: Version) -> dict[str, Any]:
        return {Version(text): stated for text, stated in self._packages[name].items()}[version]


def needed(environment: Mapping[str, str]) -> list[Requirement]:
    parsed = map(Requirement, requirement_lines())
    return [each for each in parsed if each.marker is None or each.marker.evaluate({**environment, "extra": ""})]


def resolve(provider: RecordedIndex, requirements: Iterable[Requirement]) -> dict[str, Version]:
    result = Resolver(provider, BaseReporter()).resolve(requirements, max_rounds=2000)
    return {name: candidate.version for name, candidate in result.mapping.items()}


def pinned(packages: Mapping[str, str], index: RecordedIndex) -> list[Requirement]:
    return [
        Requirement(f"{name}=={version}")
        for name, version in packages.items()
        if Version(version) in index.versions(name)
    ]


def minimum_of(requirement: Requirement) -> Version:
    return next(Version(each.version) for each in requirement.specifier if each.operator == ">=")


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment["sys_platform"])
@pytest.mark.parametrize("slicer", SLICER)
def test_all_that_is_needed_can_be_had_beside_what_slicer_brings(slicer, environment):
    index = RecordedIndex(environment)
    found = resolve(index, [*needed(environment), *pinned(SLICER[slicer], index)])
    assert found["numpy"] == Version(SLICER[slicer]["numpy"])
    assert found["scipy"] == Version(SLICER[slicer]["scipy"])
    if environment["sys_platform"] == "win32":
        assert found["torch"] < Version("2.13")


@pytest.mark.parametrize("slicer", SLICER)
@pytest.mark.parametrize("requirement", needed(ENVIRONMENTS[0]), ids=attrgetter("name"))
def test_every_stated_minimum_exists_and_agrees_with_the_others(requirement, slicer):
    index = RecordedIndex(ENVIRONMENTS[0])
    minimum = minimum_of(requirement)
    assert minimum in index.versions(requirement.name), (
        f"record it: setup/package_index.py {requirement.name}=={minimum}"
    )
    of_slicer = [each for each in pinned(SLICER[slicer], index) if each.name != requirement.name]
    exactly = Requirement(f"{requirement.name}=={minimum}")
    if requirement.name in ("numpy", "scipy"):
        # Another Slicer brings these; they need only agree with what is needed.
        of_slicer = []
    found = resolve(index, [*needed(ENVIRONMENTS[0]), *of_slicer, exactly])
    assert found[canonicalize_name(requirement.name)] == minimum


def test_all_minimums_can_be_had_at_once():
    oldest = {each.name: str(minimum_of(each)) for each in needed(ENVIRONMENTS[0])}
    found = resolve(RecordedIndex(ENVIRONMENTS[0]), [Requirement(f"{name}=={oldest[name]}") for name in oldest])
    assert {name: found[canonicalize_name(name)] for name in oldest} == {name: Version(oldest[name]) for name in oldest}


@pytest.mark.parametrize("torch", ["2.4.1", "2.7.1"])
def test_the_minimum_of_torch_that_was_stated_before_is_found_to_contradict_monai(torch):
    index = RecordedIndex(ENVIRONMENTS[0])
    before = [Requirement("torch>=2.4"), *(each for each in needed(ENVIRONMENTS[0]) if each.name != "torch")]
    with pytest.raises(ResolutionImpossible, match="torch"):
        resolve(index, [*before, Requirement(f"torch=={torch}")])


@pytest.mark.parametrize("package_set", [*SLICER, LOWEST])
def test_the_environments_that_are_tried_can_be_made(package_set):
    """``setup/package_sets.py`` installs these and reads the demo's heads: gigabytes, and not for here."""
    environment = ENVIRONMENTS[0]
    index = RecordedIndex(environment)
    held = [Requirement(line) for line in pins(package_set, stated_requirements())]
    held = [each for each in held if each.marker is None or each.marker.evaluate({**environment, "extra": ""})]
    known = [each for each in held if Version(next(iter(each.specifier)).version) in index.versions(each.name)]
    found = resolve(index, [*needed(environment), *known])
    assert {each.name for each in known} >= {"numpy", "scipy"}
    if package_set == LOWEST:
        assert [each.name for each in known] == [each.name for each in needed(environment)]
    assert all(found[canonicalize_name(each.name)] in each.specifier for each in known)


def test_another_torch_takes_the_place_of_the_lowest():
    held = pins(LOWEST, ['torch>=2.8,<2.13; sys_platform == "win32"', "numpy>=1.26"], "2.14.1")
    assert held == ["numpy==1.26", "torch==2.14.1"]
    assert pins(LOWEST, ['torch>=2.8,<2.13; sys_platform == "win32"']) == ['torch==2.8; sys_platform == "win32"']
