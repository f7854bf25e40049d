"""The module ``SampleData``: samples are registered, downloaded into the cache, checked and loaded as by the real one.

Written for these tests after the documented behaviour of ``SampleDataLogic``; its buttons and messages are left out.
"""

from __future__ import annotations

import hashlib
import sys
import types
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

ATTEMPTS = 3


@dataclass(frozen=True)
class SampleDataSource:
    """One sample: as the real class, every field is a list with one entry per file."""

    sampleName: str
    uris: list[str]
    fileNames: list[str]
    nodeNames: list[str]
    checksums: list[str | None]
    thumbnailFileName: str | None
    customDownloader: Callable[[object], object] | None


class SampleDataLogic:
    """Registration, download and loading."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: str | None = None,
        fileNames: str | None = None,
        nodeNames: str | None = None,
        customDownloader: Callable[[object], object] | None = None,
        thumbnailFileName: str | None = None,
        checksums: str | None = None,
    ) -> None:
        if not isinstance(uris, str):
            raise TypeError("a sample of one file has one address, be it empty")
        source = SampleDataSource(
            str(sampleName),
            [uris],
            [str(fileNames)],
            [str(nodeNames)],
            [checksums],
            thumbnailFileName,
            customDownloader,
        )
        sources = sources_of(category)
        if source not in sources:
            sources.append(source)

    def downloadSample(self, name: str) -> Any:
        """Do what a click on the button of a sample does; return the first node."""
        for sources in slicer.modules.sampleDataSources.values():
            for source in sources:
                if source.sampleName == name:
                    return (
                        source.customDownloader(source) if source.customDownloader else self.downloadFromSource(source)
                    )
        raise KeyError(name)

    def downloadFromSource(self, source: SampleDataSource) -> object:
        for _attempt in range(ATTEMPTS):
            path = self.downloadFile(source.uris[0], source.fileNames[0], source.checksums[0])
            if path is not None:
                return slicer.util.loadVolume(str(path), {"name": source.nodeNames[0]})
        return None

    def downloadFile(self, uri: str, name: str, checksum: str | None) -> Path | None:
        """Fetch a file unless the cache has it; one whose checksum is wrong is removed."""
        path = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()) / name
        if not path.exists():
            urllib.request.urlretrieve(uri, path)
        if checksum is not None:
            algorithm, digest = checksum.split(":")
            if hashlib.new(algorithm, path.read_bytes()).hexdigest() != digest:
                path.unlink()
                return None
        return path


def sources_of(category: str) -> list[SampleDataSource]:
    if not hasattr(slicer.modules, "sampleDataSources"):
        slicer.modules.sampleDataSources = {}
    return slicer.modules.sampleDataSources.setdefault(category, [])


def install_sample_data() -> None:
    """Make ``import SampleData`` work, with nothing registered."""
    slicer.modules.sampleDataSources = {}
    module = types.ModuleType("SampleData")
    module.SampleDataSource, module.SampleDataLogic = SampleDataSource, SampleDataLogic
    sys.modules["SampleData"] = module
