"""Attribution maps overlaid on slices, and images as data URIs, which need no file beside the report and no network."""

from __future__ import annotations

import base64
import io
from functools import cache

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

TRANSPARENT_BELOW = 0.15
"""Below this fraction of the scan's largest value the map stays transparent, so that the CT can be read beneath it."""

_OPACITY = 0.75
_JPEG_QUALITY = 86


def overlay(grey: NDArray[np.uint8], attribution: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay an attribution map over a slice.

    Parameters
    ----------
    grey, attribution : ndarray of uint8, shape (height, width)
        The slice in its window, and the map with 255 = the scan's largest value.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        The colours are those of inferno; opacity grows with the value from 0 at 15 % to 75 % at the largest.
    """
    fraction = attribution.astype(np.float32) / 255
    opacity = _OPACITY * np.clip((fraction - TRANSPARENT_BELOW) / (1 - TRANSPARENT_BELOW), 0, 1)[..., None]
    colour = _inferno()[attribution]
    return (grey[..., None] * (1 - opacity) + colour * opacity + 0.5).astype(np.uint8)


def colour_bar() -> NDArray[np.uint8]:
    """Draw the colours from 0 to the largest value as they appear on brain (35 HU), shape (16, 256, 3)."""
    ramp = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
    return overlay(np.full_like(ramp, 112), ramp)


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Encode grey (height, width) or RGB (height, width, 3) as JPEG, chroma at full resolution."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


def jpeg_uri(pixels: NDArray[np.uint8]) -> str:
    """Encode as :func:`jpeg`, as a data URI."""
    return data_uri("image/jpeg", jpeg(pixels))


def png_uri(pixels: NDArray[np.uint8]) -> str:
    """Encode grey (height, width) or RGB (height, width, 3) as a PNG data URI."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    return data_uri("image/png", stream.getvalue())


def data_uri(media_type: str, content: bytes) -> str:
    """Write bytes as a data URI (RFC 2397)."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


@cache
def _inferno() -> NDArray[np.float32]:
    colours = matplotlib.colormaps["inferno"](np.arange(256))[:, :3]
    return (colours * 255).astype(np.float32)
