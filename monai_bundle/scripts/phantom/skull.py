"""Everything between the inner table and the skin: bone, air cells, orbits, muscle, fat; and the headrest."""

from __future__ import annotations

import numpy as np

from scripts.phantom.anatomy import Anatomy, clivus_distance, petrous_distance
from scripts.phantom.shapes import Canvas, Values, coverage, ellipsoid, sheet_coverage, smooth_step, tube

AIR_HU = -1000.0
FAT_HU = -85.0
SKIN_HU = 35.0
MUSCLE_HU = 58.0
COMPACT_BONE_HU = 1450.0
SPONGY_BONE_HU = 600.0
_TABLE_MM = 1.7


def paint_skull(anatomy: Anatomy, canvas: Canvas, cavity: Values, dome: Values, skin: Values) -> None:
    """Paint soft tissue, bone and air outside the cranial cavity, over whatever is there.

    Parameters
    ----------
    anatomy : Anatomy
        The head.
    canvas : Canvas
        Points in head coordinates, from just inside the cavity to the skin.
    cavity, dome, skin : ndarray, shape (n,)
        Distances to the inner table, to the vault and to the skin.
    """
    softness = canvas.softness
    outside = coverage(-cavity, softness)
    inside_before = canvas.values.copy()
    canvas.values[:] = FAT_HU
    _paint_soft_tissue(anatomy, canvas, dome, skin)
    _paint_vault(anatomy, canvas, cavity)
    _paint_base(canvas)
    _paint_face(canvas)
    _paint_orbits(canvas)
    _paint_air_cells(anatomy, canvas)
    canvas.values[:] = inside_before + outside * (canvas.values - inside_before)


def _paint_soft_tissue(anatomy: Anatomy, canvas: Canvas, dome: Values, skin: Values) -> None:
    z = canvas.mirrored[2]
    galea = sheet_coverage(dome - 9.2, 0.8, canvas.softness)
    canvas.blend(0.6 * galea * (skin < 0), 35.0)
    # Below the skull's widest part muscles fill the space under a layer of fat.
    neck = smooth_step(z, -28.0, -46.0) * smooth_step(skin, -6.0, -11.0)
    chosen = np.flatnonzero(neck > 0.0)
    strands = anatomy.bone(canvas.points[:, chosen] * np.array([[0.75], [0.35], [0.25]], dtype=np.float32))
    fleshy = neck[chosen] * smooth_step(strands, -1.1, -0.6)
    canvas.values[chosen] += fleshy * (MUSCLE_HU - canvas.values[chosen])
    canvas.paint_ellipsoid((66.0, 24.0, -16.0), (10.0, 30.0, 36.0), MUSCLE_HU)
    canvas.paint_ellipsoid((54.0, 32.0, -62.0), (12.0, 20.0, 26.0), MUSCLE_HU)
    canvas.blend(sheet_coverage(skin + 1.0, 1.0, canvas.softness), SKIN_HU)


def _paint_vault(anatomy: Anatomy, canvas: Canvas, cavity: Values) -> None:
    chosen = np.flatnonzero((cavity > -canvas.softness) & (cavity < 15.0))
    points, softness = canvas.points[:, chosen], canvas.softness
    height = cavity[chosen]
    thickness = anatomy.bone_thickness(points)
    texture = anatomy.bone(points)
    table = _TABLE_MM + 0.25 * texture
    spongy = np.clip((np.minimum(height, thickness - height) - table) / max(softness, 0.8) + 0.5, 0.0, 1.0)
    density = COMPACT_BONE_HU + spongy * (SPONGY_BONE_HU + 170.0 * texture - COMPACT_BONE_HU)
    x, y, z = canvas.mirrored[:, chosen]
    zigzag = 1.5 * np.sin(0.9 * x) + 0.8 * np.sin(1.7 * x + 1.0)
    coronal = np.abs(y - 14.0 - 0.30 * (z - 60.0) + zigzag)
    lambdoid = np.abs(y + 62.0 - 0.25 * (z - 40.0) - 0.35 * (x - 30.0) + zigzag) * 0.9
    suture = np.minimum(coronal, lambdoid) + 5.0 * smooth_step(z, 8.0, -6.0) + 5.0 * smooth_step(height, 4.0, 1.5)
    density -= 500.0 * coverage(suture - 0.5, 1.2)
    part = coverage(height - thickness, softness)
    canvas.values[chosen] += part * (density - canvas.values[chosen])


def _paint_base(canvas: Canvas) -> None:
    """Dense bone of the base: petrous pyramids, clivus, sphenoid, condyles."""
    chosen = canvas.near((-1.0, -60.0, -90.0), (80.0, 45.0, -10.0))
    if chosen is None:
        return
    points = canvas.mirrored[:, chosen]
    softness = canvas.softness
    petrous = petrous_distance(points)
    capsule = ellipsoid(points, (34.0, -18.0, -35.0), (9.0, 6.0, 5.0))
    density = 900.0 + 900.0 * coverage(capsule, 3.0) + 350.0 * coverage(np.abs(petrous) - 1.2, 1.5)
    part = coverage(petrous - 1.0, softness)
    canvas.values[chosen] += part * (density - canvas.values[chosen])
    clivus = clivus_distance(points)
    density = 650.0 + 600.0 * coverage(np.abs(clivus) - 1.0, 1.5)
    part = coverage(clivus - 0.5, softness)
    canvas.values[chosen] += part * (density - canvas.values[chosen])
    canvas.paint_ellipsoid((0.0, 26.0, -36.0), (21.0, 17.0, 11.0), 750.0)
    canvas.paint_tube(((17.0, -24.0, -70.0, 7.0), (20.0, -34.0, -76.0, 7.0)), 800.0)
    canvas.paint_ellipsoid((51.0, 4.0, -55.0), (8.5, 4.5, 7.0), 750.0)
    canvas.paint_ellipsoid((51.0, 4.0, -55.0), (6.0, 2.5, 5.0), 450.0)


def _paint_face(canvas: Canvas) -> None:
    canvas.paint_tube(((47.0, 72.0, -22.0, 3.5), (50.0, 64.0, -36.0, 3.5), (50.0, 62.0, -56.0, 5.5)), 1100.0)
    canvas.paint_tube(((52.0, 62.0, -54.0, 3.5), (68.0, 36.0, -52.0, 2.2), (69.0, -4.0, -47.0, 2.2)), 1050.0)
    canvas.paint_tube(((0.0, 93.0, -28.0, 3.0), (3.5, 99.0, -44.0, 1.6)), 900.0)
    canvas.paint_tube(((46.0, 52.0, -30.0, 2.0), (36.0, 44.0, -32.0, 2.4), (22.0, 38.0, -33.0, 2.6)), 950.0)
    canvas.paint_tube(((50.0, 12.0, -70.0, 3.0), (48.0, 24.0, -130.0, 4.0)), 1100.0)


def _paint_orbits(canvas: Canvas) -> None:
    chosen = canvas.near((8.0, 34.0, -58.0), (56.0, 100.0, -12.0))
    if chosen is None:
        return
    points, softness = canvas.mirrored[:, chosen], canvas.softness
    cone = tube(points, ((16.0, 41.0, -34.0, 5.0), (27.0, 60.0, -36.0, 13.5), (33.0, 77.0, -37.0, 17.0)))
    values = canvas.values[chosen]
    rim = sheet_coverage(cone - 0.6, 0.7, softness) * smooth_step(points[1], 82.0, 74.0)
    values += rim * (750.0 - values)
    values += coverage(cone, softness) * smooth_step(points[1], 90.0, 82.0) * (FAT_HU - 5.0 - values)
    canvas.values[chosen] = values
    canvas.paint_tube(((31.0, 67.0, -36.0, 2.2), (24.0, 54.0, -35.0, 2.0), (13.0, 38.0, -33.0, 2.0)), 38.0)
    canvas.paint_tube(((20.5, 76.0, -36.0, 1.2), (18.5, 64.0, -36.0, 2.3), (15.0, 46.0, -35.0, 1.4)), 52.0)
    canvas.paint_tube(((44.5, 76.0, -36.0, 1.2), (39.0, 62.0, -36.0, 2.3), (21.0, 46.0, -35.0, 1.4)), 52.0)
    canvas.paint_tube(((32.0, 76.0, -24.0, 1.2), (28.0, 62.0, -26.0, 2.3), (17.0, 44.0, -32.0, 1.4)), 50.0)
    canvas.paint_tube(((32.0, 76.0, -48.5, 1.2), (28.0, 62.0, -46.0, 2.3), (17.0, 44.0, -38.0, 1.4)), 50.0)
    canvas.paint_ellipsoid((32.0, 75.0, -36.0), (12.3, 12.3, 12.3), 48.0)
    canvas.paint_ellipsoid((32.0, 75.0, -36.0), (11.3, 11.3, 11.3), 10.0)
    canvas.paint_ellipsoid((32.0, 83.5, -36.0), (4.6, 2.2, 4.6), 85.0)


def _paint_air_cells(anatomy: Anatomy, canvas: Canvas) -> None:
    """Paint nose, sinuses, mastoid cells, ear canals and throat."""
    softness = canvas.softness
    _paint_chamber(canvas, (30.0, 62.0, -70.0), (14.5, 17.0, 15.5))
    _paint_chamber(canvas, (9.0, 29.0, -40.0), (8.0, 12.0, 9.0))
    chosen = canvas.near((-1.0, 30.0, -90.0), (15.0, 100.0, -18.0))
    if chosen is not None:
        points = canvas.mirrored[:, chosen]
        nose = np.maximum(ellipsoid(points, (0.0, 62.0, -46.0), (13.0, 32.0, 27.0)), points[1] - 92.0)
        walls = np.minimum(np.abs(points[0]), np.abs(points[0] - 6.5 - 0.8 * np.sin(0.3 * points[1])))
        cross = np.abs(np.sin(0.33 * points[1] + 0.4 * points[0])) * 3.0 + 4.0 * smooth_step(points[2], -36.0, -42.0)
        turbinate = ellipsoid(points, (7.0, 60.0, -62.0), (3.5, 20.0, 6.0))
        density = np.full(chosen.size, AIR_HU, dtype=np.float32)
        septa = coverage(np.minimum(walls, cross) - 0.5, max(softness, 0.8))
        density += septa * (250.0 - density)
        density += coverage(turbinate, softness) * (50.0 - density)
        values = canvas.values[chosen]
        values += sheet_coverage(nose - 0.6, 0.6, softness) * (500.0 - values)
        canvas.values[chosen] = values + coverage(nose, softness) * (density - values)
    canvas.paint_ellipsoid((9.0, 78.5, -10.0), (19.0, 5.5, 9.0), 850.0)
    _paint_chamber(canvas, (10.0, 80.0, -9.0), (10.0, 2.8, 9.0))
    chosen = canvas.near((44.0, -52.0, -76.0), (80.0, -12.0, -22.0))
    if chosen is not None:
        points = canvas.mirrored[:, chosen]
        mastoid = ellipsoid(points, (58.0, -34.0, -46.0), (10.0, 13.0, 19.0))
        texture = anatomy.bone(canvas.points[:, chosen] * 1.6)
        density = np.where(texture > -0.25, -850.0, 700.0).astype(np.float32)
        values = canvas.values[chosen]
        values += coverage(mastoid - 2.0, softness) * (1150.0 - values)
        canvas.values[chosen] = values + coverage(mastoid, softness) * (density - values)
    canvas.paint_tube(((46.0, -19.0, -39.0, 3.0), (58.0, -18.0, -40.0, 3.2), (90.0, -16.0, -42.0, 4.0)), AIR_HU)
    canvas.paint_tube(((0.0, 26.0, -64.0, 7.0), (0.0, 20.0, -130.0, 8.0)), AIR_HU)


def _paint_chamber(canvas: Canvas, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> None:
    """Paint a pair of air-filled sinuses with a thin bony wall."""
    wall = (radii[0] + 1.5, radii[1] + 1.5, radii[2] + 1.5)
    canvas.paint_ellipsoid(centre, wall, 650.0)
    canvas.paint_ellipsoid(centre, radii, AIR_HU)


def paint_surroundings(canvas: Canvas, headrest: bool) -> None:
    """Paint the outer ears and, if wanted, the curved headrest, over air; in patient coordinates."""
    softness = canvas.softness
    chosen = canvas.near((70.0, -45.0, -75.0), (98.0, 0.0, -8.0))
    if chosen is not None:
        points = canvas.mirrored[:, chosen]
        lean = points[0] - 82.0 + 0.45 * (points[1] + 22.0) + 1.2 * np.sin(0.45 * (points[1] + 20.0))
        rim = ellipsoid(points * np.array([[0.0], [1.0], [1.0]], dtype=np.float32), (0.0, -24.0, -40.0), (1e3, 17, 29))
        helix = coverage(np.hypot(lean, np.maximum(rim, 0.0)) - 1.9, softness)
        canvas.values[chosen] += helix * (20.0 - canvas.values[chosen])
    if headrest:
        chosen = canvas.near((-1.0, -140.0, -1e4), (130.0, -40.0, 1e4))
        if chosen is not None:
            x, y, _ = canvas.mirrored[:, chosen]
            radius = np.hypot(x, (y - 12.0) * 0.98) - 122.0
            shell = np.maximum(sheet_coverage(radius - 5.0, 1.1, softness), sheet_coverage(radius + 3.0, 0.7, softness))
            shell *= coverage(y + 66.0, softness)
            foam = coverage(np.abs(radius - 1.0) - 4.0, softness) * coverage(y + 66.0, softness)
            canvas.values[chosen] += foam * (-940.0 - canvas.values[chosen])
            canvas.values[chosen] += shell * (60.0 - canvas.values[chosen])
