"""The open panel, its played bundle and a CT, for the tests of the panel.

Test files name this module in ``pytest_plugins``; nothing imports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slicer

from slicer_panel_cases import PlayedBundle, an_open_panel
from slicer_scene_cases import a_ct, affine


@pytest.fixture
def bundle() -> PlayedBundle:
    return PlayedBundle()


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: PlayedBundle) -> Iterator[Any]:
    """The module's widget, as the application holds it."""
    with an_open_panel(tmp_path, monkeypatch, bundle) as module_widget:
        yield module_widget


@pytest.fixture
def panel(opened: Any) -> Any:
    return opened.panel


@pytest.fixture
def ct(opened: Any) -> slicer.vtkMRMLScalarVolumeNode:
    """A CT that is loaded while the panel is open."""
    return a_ct(affine())
