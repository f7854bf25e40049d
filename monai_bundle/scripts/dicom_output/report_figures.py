"""The figures of a written report.html: its images with captions and side markers, for another medium."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from html.parser import HTMLParser

_JPEG = "data:image/jpeg;base64,"
_SIDES = {"left", "right", "top", "bottom"}


@dataclass
class SliceImage:
    """One image, encoded as JPEG, and the letters of the patient's sides at its edges."""

    jpeg: bytes
    sides: dict[str, str] = field(default_factory=dict)


@dataclass
class Figure:
    """Images of one slice side by side, and their caption."""

    section: str
    caption: str = ""
    images: list[SliceImage] = field(default_factory=list)


class _Figures(HTMLParser):
    """Collects ``<figure class="key">`` with the section that each stands in."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Figure] = []
        self._section = ""
        self._figure: Figure | None = None
        self._in_caption = False
        self._side = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        classes = attributes.get("class", "").split()
        if tag == "section":
            self._section = attributes.get("id", "")
        elif tag == "figure" and "key" in classes:
            self._figure = Figure(self._section)
            self.found.append(self._figure)
        elif self._figure is None:
            return
        elif tag == "figcaption":
            self._in_caption = True
        elif tag == "img" and attributes.get("src", "").startswith(_JPEG):
            self._figure.images.append(SliceImage(_decoded(attributes["src"])))
        elif tag == "span" and "side" in classes:
            self._side = next((name for name in classes if name in _SIDES), "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "figure":
            self._figure = None
        elif tag == "figcaption":
            self._in_caption = False
        elif tag == "span":
            self._side = ""

    def handle_data(self, data: str) -> None:
        if self._figure is None:
            return
        if self._in_caption:
            parts = [self._figure.caption, data.strip()]
            self._figure.caption = " · ".join(part for part in parts if part)
        elif self._side and self._figure.images:
            self._figure.images[-1].sides[self._side] = data.strip()


def figures_of(report: str) -> list[Figure]:
    """Return the large figures of a report in their order, those without an image left out.

    Parameters
    ----------
    report : str
        The page that :func:`scripts.output.report.render_report` wrote: lesions in section ``lesions``, key slices in
        section ``key-slices``.
    """
    parser = _Figures()
    parser.feed(report)
    parser.close()
    return [figure for figure in parser.found if figure.images and all(image.jpeg for image in figure.images)]


def _decoded(uri: str) -> bytes:
    try:
        return base64.b64decode(uri.removeprefix(_JPEG), validate=True)
    except (binascii.Error, ValueError):
        return b""
