"""3D Slicer without its application: stand-ins, written for these tests, around the real MRML of slicer-core.

``host.install()`` makes ``slicer``, ``qt``, ``ctk`` and the scripted-module base classes importable as they
are inside the application; :func:`empty_scene` closes the scene between tests; :func:`load_module` and
:func:`open_panel` run a module's panel; :mod:`host.slice_view` draws slice views without a window.

What they cannot show. The scene, the logics, storage, subject hierarchy, segmentations and slice views are Slicer's
own code, so what a test shows of them holds; the windows are not. Layouts are remembered, not arranged; there is no
plot, table or 3D view, no module selector, no subject hierarchy tree and none of its plugins (nodes are listed when
they appear, nothing more), no DICOM database, no Extensions Manager, no loaded terminology, and no
colour files beyond the built-in tables. Widgets are PySide6's with PythonQt's manners: they have the properties,
methods and signals that a panel uses, not the appearance, the drag and drop or every property of the real ones, and
signals connect as ``widget.signal.connect(f)`` only, and PythonQt's own faults (lost overloads, objects that die with
their C++ half) do not appear. ``parameterNodeWrapper`` is Slicer's own where ``SLICER_SOURCE`` names a checkout, else a
strict imitation without packs of parameters (:mod:`host.parameter_nodes`). Python starts through an imitation of the
launcher (:mod:`host.launcher`). Waiting keeps the interpreter's lock, as Qt's event loop does (:mod:`host.waiting`).
Timing, the Python version and the packages of the application, Windows and macOS are not seen here:
``ICHDiagnosisTest`` inside the module repeats the main steps in the real application.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# The first import of slicer-core takes in every folder named "slicer" below the path (pkgutil.extend_path) and imports
# all that lies there. The folder of these tests is one, and pytest may have put the folder above it on the path.
_ABOVE = str(Path(__file__).resolve().parents[2])
_hidden = [entry for entry in sys.path if str(Path(entry or ".").resolve()) == _ABOVE]
sys.path[:] = [entry for entry in sys.path if entry not in _hidden]

from .application import Module, empty_scene, install_scene  # noqa: E402 - after the path was cleared

sys.path += _hidden

__all__ = ["close_panel", "empty_scene", "install", "load_module", "open_panel"]


def install() -> None:
    """Make ``slicer``, ``qt`` and ``ctk`` importable as in the application; a second call changes nothing."""
    install_scene()
    from .python_qt import install_qt  # noqa: PLC0415 - Qt starts only after the scene stands

    install_qt()
    from .parameter_nodes import install_parameter_node_wrapper  # noqa: PLC0415 - needs qt
    from .scripted_module import install_scripted_modules  # noqa: PLC0415 - needs qt

    install_parameter_node_wrapper()
    install_scripted_modules()


def load_module(path: Path) -> Module:
    """Import and register a scripted module from its file."""
    from .scripted_module import load_module as load  # noqa: PLC0415 - needs qt

    return load(path)


def open_panel(name: str) -> Any:
    """Make, set up and enter the panel of a loaded module."""
    from .scripted_module import open_panel as make  # noqa: PLC0415 - needs qt

    return make(name)


def close_panel(panel: Any) -> None:
    """Leave a panel and take it down with its widgets."""
    from .scripted_module import close_panel as close  # noqa: PLC0415 - needs qt

    close(panel)
