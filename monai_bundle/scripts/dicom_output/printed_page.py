"""The paper of every printed document: A4, with the notice above and below whatever a page holds."""

from __future__ import annotations

from collections.abc import Sequence

from fpdf import FPDF
from fpdf.enums import XPos, YPos
from matplotlib import font_manager

FAMILY = "DejaVu Sans"
GAP_MM, LINE_MM = 4.0, 4.6
RED = (166, 28, 28)
_MARGIN_MM = 15.0
_GREY = (90, 90, 90)


class Page(FPDF):
    """A document of A4 pages.

    Parameters
    ----------
    notice : str
        What stands above and below, e.g. that it is for research alone.
    """

    def __init__(self, notice: str) -> None:
        super().__init__(format="A4")
        self.notice = notice
        for style, weight in (("", "normal"), ("B", "bold")):
            properties = font_manager.FontProperties(family=FAMILY, weight=weight)
            self.add_font(FAMILY, style, font_manager.findfont(properties))
        self.set_margin(_MARGIN_MM)
        self.set_auto_page_break(True, margin=_MARGIN_MM + 5)

    def header(self) -> None:
        """Write the notice above a page; the library calls it."""
        self.set_text_color(*RED)
        self.line_of(f"ICHDiagnosis. {self.notice}", 8, "B")
        self.set_text_color(0, 0, 0)
        self.ln(2)

    def footer(self) -> None:
        """Write the notice and the number below a page; the library calls it."""
        self.set_y(-_MARGIN_MM)
        self.set_text_color(*_GREY)
        self.line_of(f"{self.notice}   {self.page_no()}", 7)
        self.set_text_color(0, 0, 0)

    def line_of(self, text: str, size: float, style: str = "") -> None:
        """Write a paragraph over the whole width."""
        self.set_font(FAMILY, style, size)
        self.multi_cell(0, size * 0.5, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def heading(self, text: str) -> None:
        """Write a heading below what stands there."""
        self.ln(GAP_MM)
        self.line_of(text, 11, "B")
        self.ln(1)

    def named_values(self, rows: Sequence[Sequence[str]]) -> None:
        """Write names and their values in two columns of small print."""
        self.set_font(FAMILY, "", 7)
        with self.table(
            col_widths=(3, 8),
            line_height=LINE_MM,
            text_align="LEFT",
            first_row_as_headings=False,
            borders_layout="NONE",
        ) as table:
            for row in rows:
                table.row(row)
