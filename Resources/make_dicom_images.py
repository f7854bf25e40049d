"""Draws the image of monai_bundle/docs/dicom_output.md: a slice of a tilted phantom and its DICOM objects.

    python Resources/make_dicom_images.py [--work FOLDER]

The shipped weights read the phantom; all but the CT is read back from the objects. The image of Orthanc in
monai_bundle/docs/dicom_node.md shows the page that ``make archive-demo STAY=1`` names.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.typing import NDArray
from pydicom.dataset import Dataset

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "monai_bundle"
IMAGE = BUNDLE / "docs" / "dicom_output.png"
TILT = 15
PHANTOM = ("--seed", "5", "--pixels", "256", "--tilt", str(TILT), "--haemorrhage", "intraparenchymal", "--volume", "30")
WINDOW_HU = (0, 80)
CAPTION = (
    f"Phantom with a gantry tilt of {TILT} degrees, read by the network. All but the CT was read back from the DICOM "
    "objects. An attribution map is evidence, not an outline. Research use only."
)
Frames = dict[str, NDArray[np.generic]]
"""Pixels by the SOP Instance UID of the original image."""


def run(arguments: Sequence[str]) -> None:
    """Run this Python in the bundle's folder."""
    subprocess.run([sys.executable, *arguments], cwd=BUNDLE, check=True)


def read_phantom(work: Path) -> tuple[Path, Path]:
    """Draw a phantom and have it read; return the folders of its series and of its DICOM objects."""
    results = work / "results"
    if not results.exists():
        run(["-m", "scripts.phantom", "--output", str(work / "phantom"), *PHANTOM])
        command = ["-m", "monai.bundle", "run", "--config_file", "configs/inference.json", "--dicom_output", "true"]
        run([*command, "--dataset_dir", str(work / "phantom" / "ct"), "--output_dir", str(results)])
    (objects,) = results.glob("*/dicom")
    return work / "phantom" / "ct", objects


def frames_of(image: Dataset, pixels: NDArray[np.generic], segment: int | None = None) -> Frames:
    """Return the frames of an object, of one segment where it has several."""
    found = {}
    for frame, values in zip(image.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        if segment is None or frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == segment:
            source = frame.DerivationImageSequence[0].SourceImageSequence[0]
            found[str(source.ReferencedSOPInstanceUID)] = values
    return found


def floats_of(file: Path) -> Frames:
    """Return the frames of a parametric map."""
    image = pydicom.dcmread(file)
    return frames_of(image, np.frombuffer(image.FloatPixelData, "<f4").reshape(-1, image.Rows, image.Columns))


def draw_segments(axes: Axes, segmentation: Dataset, chosen: str) -> None:
    """Draw every compartment on the CT, in its own colour."""
    pixels, names = segmentation.pixel_array, []
    for segment in segmentation.SegmentSequence:
        mask = frames_of(segmentation, pixels, int(segment.SegmentNumber)).get(chosen)
        if segment.TrackingID == "total" or mask is None:
            continue
        red, green, blue = hd.color.CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue).to_rgb()
        shade = np.array([red / 255, green / 255, blue / 255, 0.6], dtype=np.float64)
        axes.imshow(np.asarray(mask, dtype=np.float64)[..., np.newaxis] * shade)
        names.append(str(segment.TrackingID).replace("_", "-"))
    axes.set_title(f"lesions.dcm: {', '.join(names)}", loc="left", fontsize=9)


def draw_map(axes: Axes, file: Path, chosen: str, largest: float | None, label: str) -> None:
    """Draw a map on the CT, the more opaque the larger it is."""
    frames = floats_of(file)
    values = np.clip(np.asarray(frames[chosen], dtype=np.float64), 0, None)
    share = values / (largest or max(float(frame.max()) for frame in frames.values()))
    axes.imshow(share, cmap="inferno", vmin=0, vmax=1, alpha=np.where(share < 0.15, 0, 0.7))
    axes.set_title(f"{file.name}{label}", loc="left", fontsize=9)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the phantom and draw the slice with the largest lesion."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="folder to keep the phantom and its result in")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        series, objects = read_phantom((options.work or Path(folder)).resolve())
        segmentation = pydicom.dcmread(objects / "lesions.dcm")
        total = frames_of(segmentation, segmentation.pixel_array, 1)
        chosen = max(total, key=lambda uid: int(total[uid].sum()))
        images = [pydicom.dcmread(file) for file in sorted(series.iterdir())]
        (image,) = [each for each in images if each.SOPInstanceUID == chosen]
        hounsfield = image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept)
        figure, panels = plt.subplots(1, 4, figsize=(13.34, 3.8), layout="constrained")
        for axes in panels:
            axes.imshow(hounsfield, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1])
            axes.axis("off")
            for place, side in ((0.02, "R"), (0.95, "L")):
                axes.text(place, 0.5, side, color="white", transform=axes.transAxes)
        panels[0].set_title("CT slice of the series", loc="left", fontsize=9)
        draw_segments(panels[1], segmentation, chosen)
        draw_map(panels[2], objects / "lesion_probability.dcm", chosen, 1.0, ": 0 to 1")
        draw_map(panels[3], objects / "attribution_intraparenchymal.dcm", chosen, None, "")
        figure.supxlabel(CAPTION, fontsize=8, x=0.005, ha="left")
        figure.savefig(IMAGE, dpi=100)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
