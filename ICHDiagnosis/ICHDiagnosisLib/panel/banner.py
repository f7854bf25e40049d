"""What all parts of the panel share: its widgets by name, and lines of text whose colour says what they mean."""

from __future__ import annotations

from enum import Enum
from typing import Any, Protocol

import qt


class Widgets(Protocol):
    """The widgets of the ``.ui`` file by name, as ``slicer.util.childWidgetVariables`` returns them."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a widget of any class
        """Return one widget."""


class Tone(Enum):
    """What a line means: background, text and edge colour, readable on a light and on a dark theme."""

    PLAIN = ("transparent", "", "transparent")
    QUIET = ("#eef1f4", "#3c4650", "#8a97a5")
    WARNING = ("#fff3c4", "#4d3c00", "#e0a800")
    PROBLEM = ("#fde7e5", "#6b1a13", "#c93a2e")


def show_banner(label: qt.QLabel, text: str, tone: Tone) -> None:
    """Show a text in a tone; an empty text takes the label off the panel."""
    background, colour, edge = tone.value
    # No line may break between a number and its per cent sign.
    label.text = text.replace(" %", "\N{NO-BREAK SPACE}%")
    if tone is Tone.PLAIN:
        label.styleSheet = ""
    else:
        label.styleSheet = (
            f"QLabel {{ background: {background}; color: {colour}; border-left: 4px solid {edge}; padding: 4px 6px; }}"
        )
    label.setVisible(bool(text))
