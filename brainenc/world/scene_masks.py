"""Which pixels show which thing: silhouettes of sketches, and the label map of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from brainenc.world.scene_pen import Sketch, fit_lettering

if TYPE_CHECKING:
    from brainenc.world.scene_plan import ScenePlan

OVERSAMPLING = 3


def draw_silhouette(sketch: Sketch, side: int, value: int = 255) -> Image.Image:
    """Everything that a sketch (points in the unit square) covers: "L", ``side`` x ``side``, ``value`` inside."""
    canvas = Image.new("L", (side, side))
    draw = ImageDraw.Draw(canvas)
    numbers = (sketch.points * side - 0.5).ravel().tolist()
    start = 0
    for n_points, _, lettering in sketch.marks:
        corners = numbers[start : start + 2 * n_points]
        start += 2 * n_points
        if lettering is None:
            draw.polygon(corners, fill=value)
        else:
            mask, corner = fit_lettering(corners, lettering, lettering.outline is not None)
            canvas.paste(value, corner, mask)
    return canvas


def paint_masks(plan: ScenePlan, size: int = 64) -> np.ndarray:
    """Label every pixel with the thing it shows.

    Parameters
    ----------
    plan : ScenePlan
    size : int
        Side of the map in pixels.

    Returns
    -------
    ndarray (size, size) of uint8
        0 for backdrop or place, ``i + 1`` where ``plan.layers[i]`` is seen: it covers at least half of the pixel and no
        later layer does.
    """
    return label_sketches([layer.placed() for layer in plan.layers], size)


def label_sketches(sketches: Sequence[Sketch], size: int) -> np.ndarray:
    """Label map (size, size) uint8 of sketches whose points lie in the unit square, back to front: 1 is the first."""
    labels = np.zeros((size, size), np.uint8)
    for index, sketch in enumerate(sketches):
        silhouette = draw_silhouette(sketch, size * OVERSAMPLING).reduce(OVERSAMPLING)
        labels[np.asarray(silhouette) >= 128] = index + 1
    return labels
