"""Draw the icon of the extension and of its module: a head from below, a bleed, and the attention over its slices.

python Resources/draw_icon.py
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageChops, ImageDraw

ROOT = Path(__file__).resolve().parents[1]
PLACES = (ROOT / "Resources" / "ICHDiagnosis.png", ROOT / "ICHDiagnosis" / "Resources" / "Icons" / "ICHDiagnosis.png")
SIZE = 128
# Drawn larger and scaled down, for smooth edges.
SCALE = 8

Box = tuple[float, float, float, float]

PLATE = (20, 33, 51, 255)
BONE = (238, 242, 246, 255)
BRAIN = (92, 112, 136, 255)
FALX = (132, 150, 172, 255)
BLOOD = (232, 62, 48, 255)
BAR = (248, 184, 48, 255)

SKULL: Box = (26, 5, 102, 91)
INNER: Box = (35, 14, 93, 82)
WITHOUT_BLEED: Box = (14, 14, 75, 82)
BLEED: Box = (60, 18, 120, 78)
BARS = ((12, 113), (34, 108), (56, 95), (78, 104), (100, 112))
"""Left and upper edge of each."""
BAR_WIDTH, BARS_END = 16, 121


def _scaled(box: Box) -> Box:
    left, top, right, bottom = box
    return left * SCALE, top * SCALE, right * SCALE, bottom * SCALE


def _ellipse(box: Box) -> Image.Image:
    mask = Image.new("L", (SIZE * SCALE, SIZE * SCALE), 0)
    ImageDraw.Draw(mask).ellipse(_scaled(box), fill=255)
    return mask


def draw() -> Image.Image:
    """Return the icon, 128 x 128 pixels, red, green, blue and opacity."""
    icon = Image.new("RGBA", (SIZE * SCALE, SIZE * SCALE), (0, 0, 0, 0))
    pen = ImageDraw.Draw(icon)
    pen.rounded_rectangle(_scaled((1, 1, 127, 127)), radius=22 * SCALE, fill=PLATE)
    pen.ellipse(_scaled(SKULL), fill=BONE)
    pen.ellipse(_scaled(INNER), fill=BRAIN)
    pen.line(_scaled((64, 16, 64, 80)), fill=FALX, width=3 * SCALE)
    inside, outside = _ellipse(INNER), ImageChops.invert(_ellipse(WITHOUT_BLEED))
    icon.paste(BLOOD, mask=ImageChops.multiply(ImageChops.multiply(inside, outside), _ellipse(BLEED)))
    for left, top in BARS:
        pen.rounded_rectangle(_scaled((left, top, left + BAR_WIDTH, BARS_END)), radius=2 * SCALE, fill=BAR)
    return icon.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    picture = draw()
    for place in PLACES:
        place.parent.mkdir(parents=True, exist_ok=True)
        picture.save(place, optimize=True)
