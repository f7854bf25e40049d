"""3D Slicer without its application: stand-ins, written for these tests, around the real MRML of slicer-core."""

from __future__ import annotations

from .application import emptyScene, installScene

__all__ = ["emptyScene", "install"]


def install() -> None:
    """Make ``slicer`` look as it does inside the application; calling it again changes nothing."""
    installScene()
