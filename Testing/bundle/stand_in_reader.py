"""Reads a study in no time: a process with the protocol of ``scripts.resident_worker`` and no network.

Its impression states how many images the study had. What a study asks for in Series Description (0008,103E) it does:
refuse it, fail, end in the middle, or never answer.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from pydicom import dcmread

REFUSE, FAIL, END, HANG = "refuse", "fail", "end", "hang"


def result_of(images: list[Path], *, refused: bool) -> dict[str, Any]:
    unknown = ("study_uid", "series_uid", "slices", "shape", "spacing_mm", "orientation", "tilt_degrees", "kernel")
    return {
        "schema": "ich-diagnosis-result/2",
        "status": "not_evaluable" if refused else "evaluated",
        "reason": {"code": "too_few_slices", "message": f"{len(images)} slices, 12 needed"} if refused else None,
        "impression": None if refused else {"text": f"{len(images)} images", "caution": "A test."},
        "study": dict.fromkeys((*unknown, "source_format", "slice_thickness_mm"))
        | {"source_name": images[0].parent.name, "series_choice": [], "quality": []},
        "model": {
            "name": "stand-in",
            "version": "0",
            "network": "none",
            "weights_sha256": {},
            "labels": [],
            "trained_on": "nothing",
            "notice": "Research use only.",
        },
        "operating_point": None if refused else "balanced",
        "findings": [],
    }


def read(study: Path, output: Path) -> int:
    images = sorted(study.glob("*.dcm"))
    asked = str(dcmread(images[0], stop_before_pixels=True).get("SeriesDescription", ""))
    if asked == FAIL:
        return 1
    if asked == END:
        os._exit(1)
    if asked == HANG:
        time.sleep(600)
    folder = output / study.name
    folder.mkdir(parents=True)
    text = json.dumps(result_of(images, refused=asked == REFUSE))
    (folder / "result.json").write_text(text, encoding="utf-8")
    return 3 if asked == REFUSE else 0


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        arguments = request["arguments"]
        values = dict(zip(arguments[1::2], arguments[2::2], strict=False))
        status = read(Path(values["--dataset_dir"]), Path(values["--output_dir"]))
        sys.stdout.write("PROGRESS 100/100 done\n" + json.dumps({"id": request["id"], "status": status}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
