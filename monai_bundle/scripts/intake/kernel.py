"""Names of convolution kernels: which of them enhance edges."""

from __future__ import annotations

import re

_BONE_WORDS = ("BONE", "EDGE", "LUNG", "SHARP", "ULTRA", "CHST")
_SIEMENS = re.compile(r"^[A-Z][a-z]?(\d{2})")
_SIEMENS_SHARP = 50
_CANON = re.compile(r"^FC(\d{2})")
_CANON_SHARP = frozenset((*range(30, 40), *range(50, 60), *range(80, 90)))
_PHILIPS_SHARP = frozenset({"D", "E", "YC", "YD", "YE", "L"})


def is_bone_kernel(kernel: str | None) -> bool:
    """Tell whether a Convolution Kernel (0018,1210) enhances edges, as bone and lung reconstructions do.

    The makers' naming: Siemens a number of 50 or more after its letters (``H60s``, ``Hr64h``), General Electric words
    (``BONE``, ``BONEPLUS``, ``EDGE``), Canon the groups FC30, FC50 and FC80, Philips single letters (``D``, ``YC``).
    Names that none of them uses count as soft tissue.
    """
    if not kernel:
        return False
    name = kernel.split()[0]
    siemens, canon = _SIEMENS.match(name), _CANON.match(name.upper())
    if canon:
        return int(canon[1]) in _CANON_SHARP
    if siemens:
        return int(siemens[1]) >= _SIEMENS_SHARP
    return name.upper() in _PHILIPS_SHARP or any(word in kernel.upper() for word in _BONE_WORDS)
