"""The report on paper: the statements of result.json and the figures of report.html as a PDF of a few pages."""

from __future__ import annotations

import io
from typing import Any

from fpdf.fonts import FontFace
from PIL import Image

from scripts.dicom_output.finished_result import REPORT_FILE, FinishedResult
from scripts.dicom_output.printed_page import FAMILY, GAP_MM, LINE_MM, Page
from scripts.dicom_output.report_figures import Figure, figures_of
from scripts.messages import Translation

_LARGEST_IMAGE_MM = 62.0


def printed_report(result: FinishedResult, translate: Translation) -> bytes:
    """Lay out the report; the same result gives the same bytes.

    Nothing names the patient: neither file of the result folder does.

    Parameters
    ----------
    result : FinishedResult
        What to print.
    translate : Translation
        Language of headings; the statements are in the result's own.

    Returns
    -------
    bytes
        A PDF.
    """
    document = result.document
    page = Page(document["model"]["notice"])
    page.set_creation_date(result.written.astimezone())
    page.set_title("ICHDiagnosis report")
    page.set_lang(translate("report.language_tag"))
    page.add_page()
    page.line_of(document["impression"]["text"], 14, "B")
    page.ln(1)
    page.line_of(document["impression"]["caution"], 9)
    page.line_of(translate("report.not_a_risk"), 9)
    _findings(page, document, translate)
    _volumes(page, result, translate)
    _warnings(page, document, translate)
    _technical(page, document, translate)
    figures = figures_of(result.content(REPORT_FILE).decode("utf-8", errors="replace"))
    lesions, keys = ([each for each in figures if each.section == name] for name in ("lesions", "key-slices"))
    _figures(page, lesions, translate("report.lesions"), translate("report.brain_window"))
    of_keys = [translate("report.key_slices_mean"), translate("report.brain_window")]
    if any(len(each.images) > 1 for each in keys):
        of_keys.insert(1, translate("report.map_is_not_a_mask"))
    _figures(page, keys, translate("report.key_slices"), " ".join(of_keys))
    return bytes(page.output())


def _table(page: Page, rows: list[list[str]], widths: tuple[int, ...], bold: set[int] | None = None) -> None:
    page.set_font(FAMILY, "", 8)
    with page.table(
        col_widths=widths, line_height=LINE_MM, text_align="LEFT", borders_layout="HORIZONTAL_LINES"
    ) as table:
        for number, row in enumerate(rows):
            style = FontFace(emphasis="BOLD") if number in (bold or set()) else None
            table.row(row, style=style)


def _findings(page: Page, document: dict[str, Any], translate: Translation) -> None:
    page.heading(translate("report.findings"))
    columns = ("report.finding", "report.result", "report.probability", "report.threshold")
    rows = [[translate(column) for column in columns]]
    for finding in document["findings"]:
        star = "*" if finding["default_threshold"] else ""
        outcome = translate("report.positive" if finding["positive"] else "report.negative")
        percent = [f"{100 * finding[name]:.1f} %" for name in ("probability", "threshold")]
        rows.append([finding["name"], f"{'▲ ' if finding['positive'] else ''}{outcome}", percent[0], percent[1] + star])
    bold = {number for number, finding in enumerate(document["findings"], start=1) if finding["positive"]}
    _table(page, rows, (6, 3, 3, 3), bold)
    page.ln(1)
    page.line_of(translate("report.positive_means", operating_point=document["operating_point"]), 7)
    if any(finding["default_threshold"] for finding in document["findings"]):
        page.line_of(f"* {translate('report.default_threshold')}", 7)


def _volumes(page: Page, result: FinishedResult, translate: Translation) -> None:
    lesions = result.stated_lesions
    if lesions is None:
        return
    left_out = lesions.get("volumes_left_out")
    page.heading(translate("report.lesions_place" if left_out else "report.lesions"))
    if left_out:
        page.line_of(left_out, 7)
        return
    limits = translate("report.limits", level=f"{100 * lesions['level']:g} %")
    rows = [[translate("report.compartment"), translate("report.volume"), limits]]
    for volume in lesions["volumes"]:
        between = translate("report.limits_not_measured")
        if volume["low_ml"] is not None and volume["high_ml"] is not None:
            between = f"{volume['low_ml']:.1f} – {volume['high_ml']:.1f} ml"
        rows.append([translate(f"compartment_name.{volume['group']}"), f"{volume['ml']:.1f} ml", between])
    _table(page, rows, (6, 3, 6))


def _warnings(page: Page, document: dict[str, Any], translate: Translation) -> None:
    if document["study"]["quality"]:
        page.heading(translate("report.image_quality"))
        for warning in document["study"]["quality"]:
            page.line_of(f"– {warning['message']}", 8)


def _technical(page: Page, document: dict[str, Any], translate: Translation) -> None:
    page.heading(translate("report.technical"))
    model = document["model"]
    rows = [
        [translate("report.model"), f"{model['name']} {model['version']}"],
        [translate("report.network"), model["network"]],
        [translate("report.trained_on"), model["trained_on"]],
        *([translate("report.checksum", file=file), digest] for file, digest in model["weights_sha256"].items()),
        [translate("report.series_uid"), document["study"]["series_uid"] or ""],
    ]
    page.named_values(rows)


def _figures(page: Page, figures: list[Figure], heading: str, legend: str) -> None:
    if not figures:
        return
    page.add_page()
    page.line_of(heading, 11, "B")
    page.line_of(legend, 7)
    for figure in figures:
        _figure(page, figure)


def _figure(page: Page, figure: Figure) -> None:
    width = min(_LARGEST_IMAGE_MM, (page.epw - GAP_MM) / 2)
    sizes = [Image.open(io.BytesIO(each.jpeg)).size for each in figure.images]
    heights = [width * rows / columns for columns, rows in sizes]
    if page.will_page_break(max(heights) + 3 * LINE_MM):
        page.add_page()
    page.ln(2)
    page.line_of(figure.caption, 8)
    top = page.get_y() + 1
    for place, (image, height) in enumerate(zip(figure.images[:2], heights, strict=False)):
        left = page.l_margin + place * (width + GAP_MM)
        page.image(io.BytesIO(image.jpeg), x=left, y=top, w=width, h=height)
        _side_markers(page, image.sides, (left, top, width, height))
    page.set_xy(page.l_margin, top + max(heights) + 1)


def _side_markers(page: Page, sides: dict[str, str], box: tuple[float, float, float, float]) -> None:
    left, top, width, height = box
    places = {
        "left": (left + 2, top + height / 2),
        "right": (left + width - 5, top + height / 2),
        "top": (left + width / 2, top + 4),
        "bottom": (left + width / 2, top + height - 2),
    }
    page.set_font(FAMILY, "B", 9)
    page.set_text_color(255, 255, 255)
    for side, letter in sides.items():
        page.text(*places[side], letter)
    page.set_text_color(0, 0, 0)
