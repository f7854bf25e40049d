"""What fills the cranial cavity: brain, cerebrospinal fluid, dura and calcifications, without any haemorrhage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scripts.phantom.anatomy import Anatomy
from scripts.phantom.shapes import (
    Canvas,
    Values,
    coverage,
    ellipsoid,
    sheet_coverage,
    smooth_minimum,
    smooth_step,
    tube,
)

FLUID_HU = 7.0
WHITE_HU = 29.5
GREY_HU = 37.5
DURA_HU = 52.0
_RIBBON_MM = 3.4

_DEEP_GREY = (
    ((13.5, 21.0, 6.0), (5.5, 10.0, 9.0)),
    ((14.0, 2.0, 19.0), (3.5, 16.0, 4.0)),
    ((25.5, 5.0, 1.0), (6.5, 17.0, 9.0)),
    ((20.5, -2.0, 0.0), (4.5, 10.0, 6.0)),
    ((10.0, -12.0, 5.0), (8.0, 14.0, 9.0)),
)
_LATERAL_VENTRICLE = (
    (14.0, 35.0, 2.0, 1.8),
    (9.5, 26.0, 7.0, 4.2),
    (6.5, 12.0, 13.0, 4.6),
    (10.0, -10.0, 19.0, 5.0),
    (17.5, -28.0, 16.0, 5.6),
    (25.0, -40.0, 9.0, 6.0),
    (24.5, -52.0, 5.0, 3.8),
    (21.0, -65.0, 3.0, 1.6),
)
_TEMPORAL_HORN = ((26.0, -38.0, 5.0, 4.5), (33.0, -27.0, -10.0, 2.2), (31.0, -8.0, -20.0, 1.8))
_AQUEDUCT = ((0.0, -17.0, -5.0, 0.9), (0.0, -34.0, -26.0, 1.2))
_SUPRASELLAR = (
    ((0.0, 8.0, -17.0, 6.0), (0.0, 20.0, -16.0, 3.0), (0.0, 34.0, -15.0, 1.2)),
    ((2.0, 8.0, -17.0, 5.5), (18.0, 13.0, -16.0, 2.4), (38.0, 12.0, -12.0, 2.0)),
    ((2.0, 5.0, -17.0, 5.5), (16.0, -11.0, -17.0, 2.6)),
)


@dataclass(frozen=True)
class Interior:
    """Distances (mm, negative inside) that the haemorrhages need, on points of the cranial cavity.

    Attributes
    ----------
    brain_points : ndarray, shape (3, n)
        Coordinates in the undeformed brain.
    ventricle : ndarray, shape (n,)
        Ventricular system.
    subarachnoid : ndarray, shape (n,)
        Fluid around the brain: sulci, fissures, cisterns.
    cerebrum : ndarray, shape (n,)
        Cerebral hemispheres without regard to their sulci.
    """

    brain_points: Values
    ventricle: Values
    subarachnoid: Values
    cerebrum: Values


def tentorium_height(points: Values) -> Values:
    """Height z of the tentorium over x, y: a tent that falls from the straight sinus to its rim."""
    lengthwise = np.sqrt(np.square(points[1] + 38.0) + 81.0) - 9.0
    across = np.sqrt(np.square(points[0]) + 36.0) - 6.0
    return np.maximum(5.0 - 0.48 * lengthwise - 0.60 * across, -24.0)


def _posterior_fossa(points: Values) -> Values:
    """Distance to the compartment below the tentorium and behind the petrous ridges (mirrored coordinates)."""
    return np.maximum(
        (points[2] - tentorium_height(points)) * 0.82, (points[1] + 3.0 + 0.78 * (points[0] - 18.0)) * 0.79
    )


def _suprasellar_cistern(points: Values) -> Values:
    """Distance to the star of fluid above the sella: forwards, to both sides and around the brain stem."""
    wavy = points + np.float32(1.5) * np.sin(points[[1, 2, 0]] * np.float32(0.27))
    forwards, sideways, backwards = (tube(wavy, nodes) for nodes in _SUPRASELLAR)
    return smooth_minimum(smooth_minimum(forwards, sideways, 6.0), backwards, 6.0)


def _notch(points: Values) -> Values:
    return ellipsoid(points, (0.0, -20.0, -22.0), (17.5, 19.0, 22.0))


def ventricle_distance(anatomy: Anatomy, points: Values) -> Values:
    """Distance to the ventricular system, in brain coordinates."""
    mirrored = np.concatenate([np.abs(points[:1]), points[1:]])
    distance = np.full(points.shape[1], 30.0, dtype=np.float32)
    within = (mirrored[0] < 45.0) & (np.abs(mirrored[1] + 15.0) < 60.0) & (np.abs(mirrored[2] + 10.0) < 46.0)
    chosen = np.flatnonzero(within)
    if chosen.size:
        near, right = mirrored[:, chosen], points[0, chosen] > 0.0
        growth = np.where(right, *anatomy.ventricle_mm).astype(np.float32)
        lateral = smooth_minimum(tube(near, _LATERAL_VENTRICLE), tube(near, _TEMPORAL_HORN), 2.0) - growth
        # The head of the caudate nucleus indents the frontal horn; the septum parts left from right.
        lateral = np.maximum(lateral, -ellipsoid(near, *_DEEP_GREY[0]))
        lateral = np.maximum(lateral, 0.9 - near[0])
        third = ellipsoid(near, (0.0, -6.0, -1.0), (2.2 + 0.4 * max(anatomy.ventricle_mm), 14.0, 9.0))
        fourth = ellipsoid(near, (0.0, -41.0, -37.0), (7.0, 5.0, 11.0))
        middle = np.minimum(np.minimum(third, fourth), tube(near, _AQUEDUCT))
        distance[chosen] = np.minimum(lateral, middle)
    return distance


def _fissures(points: Values, mirrored: Values, depth: Values) -> tuple[Values, Values]:
    """Distances to the walls of the interhemispheric and of the Sylvian fissures (signed, negative inside)."""
    x, y, z = mirrored
    callosal = ellipsoid(np.stack([np.zeros_like(y), y, z]), (0.0, -4.0, 4.0), (1e3, 42.0, 27.0))
    wobble = 0.7 * np.sin(y * 0.16) * np.cos(z * 0.13)
    midline = np.hypot(points[0] + wobble, np.maximum(-callosal, 0.0)) - (0.7 + 0.9 * smooth_step(depth, 12.0, 3.0))
    sylvian = np.full_like(x, 30.0)
    chosen = np.flatnonzero((x > 24.0) & (np.abs(z + 2.0) < 34.0) & (np.abs(y) < 48.0))
    if chosen.size:
        x, y, z = mirrored[:, chosen]
        rise = z + 2.5 + 0.37 * y + 1.8 * np.sin(0.17 * y + 0.1 * points[0, chosen])
        outside = np.maximum(np.maximum(37.0 - x, np.abs(y) - 31.0), 0.0)
        lateral = np.hypot(rise * 0.93, outside) - (0.9 + 2.2 * smooth_step(x, 44.0, 64.0))
        beyond = np.maximum(np.maximum(np.abs(y - 3.0) - 23.0, np.abs(rise) - 15.0), 0.0)
        insula = np.hypot(x - 39.5 + 0.007 * np.square(y - 3.0) + 0.5 * np.sin(0.42 * y), beyond) - 1.2
        sylvian[chosen] = np.minimum(lateral, insula)
    return midline, sylvian


def _cortical_depth(anatomy: Anatomy, points: Values, depth: Values, midline: Values) -> Values:
    """Depth below the convexity and the medial surface; the base of the brain counts as deep, its sulci are flat."""
    radius = np.hypot(points[0] / 66.0, (points[1] + 5.0) / 83.0)
    lateral = (1.0 - radius) * 68.0
    convex = np.maximum(depth - anatomy.gap_mm, lateral * smooth_step(points[2], 12.0, -4.0))
    medial = (midline + 3.0) * 1.7 + 40.0 * smooth_step(points[2], 4.0, -8.0)
    return np.minimum(convex, medial)


def _sulci(anatomy: Anatomy, points: Values, depth: Values) -> Values:
    """Distance to the walls of the sulci: clefts that run inwards from the surface and end at varying depths."""
    reach = np.sqrt(np.square(points[0] / 68.0) + np.square((points[1] + 5.0) / 84.0) + np.square(points[2] / 74.0))
    # Points of one ray meet the same wave, so that a cleft follows the ray; the power bends it a little.
    # Near the centre rays converge, and a pattern that followed them to the end would shrink to rings.
    surface = points / np.maximum(reach, 0.65) ** 0.85
    # The hemispheres fold on their own: without this step sulci would close to rings across the falx.
    surface[0] += np.where(points[0] > 0.0, np.float32(9.0), np.float32(-9.0))
    length = np.clip(13.0 + 6.0 * anatomy.depths(surface), 3.0, 24.0)
    sheet = anatomy.sulci.sheet_distance(surface) * reach
    beyond = np.maximum(depth - length, 0.0)
    return np.hypot(sheet, beyond) - anatomy.sulcus_mm * (1.35 - 0.75 * np.minimum(depth / length, 1.0))


def paint_brain(anatomy: Anatomy, canvas: Canvas, depth: Values) -> Interior:
    """Paint the content of the cranial cavity.

    Parameters
    ----------
    anatomy : Anatomy
        The head.
    canvas : Canvas
        Points of the cavity in brain coordinates.
    depth : ndarray, shape (n,)
        Depth of these points below the inner table, in mm.
    """
    points, mirrored, softness = canvas.points, canvas.mirrored, canvas.softness
    canvas.values[:] = FLUID_HU
    posterior, notch = _posterior_fossa(mirrored), _notch(mirrored)
    star = _suprasellar_cistern(mirrored)
    excluded = np.minimum(np.minimum(posterior - 1.0, notch), star)
    cerebrum = np.maximum(anatomy.gap_mm - depth, -excluded)
    midline, sylvian = _fissures(points, mirrored, depth)
    fluid = np.maximum(-cerebrum, -30.0)
    walls = np.minimum(np.minimum(fluid, midline), sylvian)
    cortical = _cortical_depth(anatomy, points, depth, midline)
    chosen = np.flatnonzero((cerebrum < 1.0) & (cortical < 32.0))
    sulcal = np.full_like(depth, 30.0)
    sulcal[chosen] = _sulci(anatomy, points[:, chosen], cortical[chosen])
    walls = np.minimum(walls, sulcal)
    grey = coverage(walls - _RIBBON_MM, max(softness, 1.2))
    tissue = coverage(cerebrum, softness)
    canvas.blend(tissue, WHITE_HU + (GREY_HU - WHITE_HU) * grey)
    for centre, radii in _DEEP_GREY:
        canvas.paint_ellipsoid(centre, radii, GREY_HU, 0.85)
    for walls_of in (midline, sylvian, sulcal):
        canvas.blend(tissue * coverage(walls_of, softness), FLUID_HU)
    fossa = _paint_posterior_fossa(anatomy, canvas, depth, posterior)
    ventricle = ventricle_distance(anatomy, points)
    canvas.blend(coverage(ventricle, softness), FLUID_HU)
    subarachnoid = np.minimum(walls, np.where(cerebrum > 0.0, -30.0, 30.0))
    subarachnoid = np.maximum(subarachnoid, -fossa)
    _paint_dura(canvas, depth)
    return Interior(points, ventricle, np.maximum(subarachnoid, 0.8 - depth), cerebrum)


def _paint_posterior_fossa(anatomy: Anatomy, canvas: Canvas, depth: Values, posterior: Values) -> Values:
    """Paint cerebellum and brain stem; return the distance to them."""
    distance = np.full_like(depth, 30.0)
    chosen = canvas.near((-1.0, -95.0, -140.0), (60.0, 8.0, 8.0))
    if chosen is None:
        return distance
    points = canvas.mirrored[:, chosen]
    lobes = smooth_minimum(
        ellipsoid(points, (25.0, -47.0, -37.0), (32.0, 36.0, 31.0)),
        ellipsoid(points, (0.0, -53.0, -22.0), (17.0, 29.0, 31.0)),
        5.0,
    )
    cisterna_magna = tube(points, ((0.0, -84.0, -44.0, 2.5), (0.0, -60.0, -62.0, 7.0)))
    lobes = np.maximum(np.maximum(lobes, posterior[chosen] + 0.9), -cisterna_magna)
    lobes = np.maximum(lobes, anatomy.gap_mm - 0.4 - depth[chosen])
    stem = np.minimum.reduce(
        [
            ellipsoid(points, (0.0, -19.5, -12.0), (15.0, 14.5, 15.0)),
            ellipsoid(points, (0.0, -18.5, -32.0), (17.5, 13.5, 15.0)),
            tube(points, ((0.0, -24.0, -30.0, 11.0), (0.0, -33.0, -62.0, 8.0), (0.0, -37.0, -140.0, 6.0))),
            tube(points, ((8.0, -26.0, -34.0, 9.0), (22.0, -42.0, -36.0, 8.0))),
        ]
    )
    interpeduncular = ellipsoid(points, (0.0, -4.0, -15.0), (4.0, 6.0, 7.0))
    stem = np.maximum(np.maximum(stem, -interpeduncular), 1.5 - depth[chosen])
    folia = np.cos(1.25 * (points[2] + 0.35 * points[1]) + 2.0 * np.cos(0.09 * points[0]))
    core = ellipsoid(points, (22.0, -48.0, -38.0), (15.0, 14.0, 11.0))
    density = np.where(lobes < stem, 36.5 + 1.6 * folia * smooth_step(core, 0.0, 6.0) - 4.5 * coverage(core, 6.0), 32.0)
    part = coverage(np.minimum(lobes, stem), canvas.softness)
    canvas.values[chosen] += part * (density - canvas.values[chosen])
    distance[chosen] = np.minimum(lobes, stem)
    return distance


def _paint_dura(canvas: Canvas, depth: Values) -> None:
    """Paint falx, tentorium, venous sinuses, arteries of the base, and the calcified pineal gland and plexus."""
    points, mirrored, softness = canvas.points, canvas.mirrored, canvas.softness
    x, y, z = mirrored
    tent = tentorium_height(mirrored)
    free_edge = ellipsoid(np.stack([np.zeros_like(y), y, z]), (0.0, 0.0, 0.0), (1e3, 54.0 - 6.0, 40.0))
    falx = coverage(-free_edge, 3.0) * coverage(tent - z, 2.0)
    wobble = 0.7 * np.sin(y * 0.16) * np.cos(z * 0.13)
    width = 0.55 + 0.5 * smooth_step(depth, 14.0, 2.0)
    canvas.blend(falx * sheet_coverage(points[0] + wobble, width, softness), DURA_HU)
    rim = coverage(-_notch(mirrored) - 1.0, 2.0) * coverage(y + 3.0 + 0.78 * (x - 18.0), 2.0)
    canvas.blend(rim * sheet_coverage((z - tent) * 0.82, 0.6, softness), DURA_HU - 4.0)
    canvas.blend(sheet_coverage(depth, 0.7, softness), DURA_HU)
    sagittal = np.maximum(x - 4.5 + 0.6 * depth, np.maximum(-y - 200.0, 0.0)) + 30.0 * (free_edge < 10.0)
    canvas.blend(coverage(np.maximum(sagittal, 2.0 - z - 18.0), softness) * coverage(depth - 6.5, 1.0), 57.0)
    canvas.paint_tube(((0.0, -40.0, 4.0, 1.6), (0.0, -82.0, -15.0, 2.6)), 56.0)
    canvas.paint_tube(((0.0, -84.0, -17.0, 3.5), (36.0, -72.0, -22.0, 3.0), (53.0, -48.0, -25.0, 3.0)), 56.0)
    canvas.paint_tube(((0.0, -8.0, -42.0, 1.7), (0.0, -5.0, -20.0, 1.7)), 45.0)
    canvas.paint_tube(((8.0, 8.0, -19.0, 1.7), (22.0, 13.0, -16.0, 1.3), (34.0, 14.0, -13.0, 1.0)), 44.0)
    canvas.paint_tube(((0.0, -33.0, 0.0, 1.5), (0.0, -34.5, 1.5, 1.7)), 190.0)
    canvas.paint_ellipsoid((24.0, -43.0, 9.0), (2.0, 4.0, 3.0), 130.0, 0.7)
