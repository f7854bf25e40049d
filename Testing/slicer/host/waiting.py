"""Waiting as the application's main thread waits: it keeps the interpreter's lock while it is in Qt's event loop.

PythonQt as Slicer builds it has no support for threads, so a Python thread runs only while the main thread is in Python
code of its own. ``time.sleep`` gives the lock away, and would let through what stands still in the application.
"""

from __future__ import annotations

import ctypes

# Functions of a PyDLL are called with the lock held.
_library = ctypes.PyDLL(None)


def wait_with_lock(seconds: float) -> None:
    """Sleep, at most a second, and let no other thread run Python code meanwhile."""
    _library.usleep(ctypes.c_uint(round(1e6 * min(seconds, 0.999))))
