"""Procedural captioned scenes: colour pictures whose contents, positions and words are all known.

A scene is a backdrop (neutral, or a place that fills it) and up to six things on it, in some light. It is made in two
steps, so that films and larger generators can step in between:

    plan = plan_scene(seed, categories)      # what stands where, in units of the image side: no pixels
    scene = paint_scene(plan, size)          # pixels, captions, boxes
    labels = paint_masks(plan, size)         # which pixel shows which thing
    words = captions(plan, wording="test")   # more captions (brainenc.world.scene_captions)

``render_scene`` does the first two. The size enters only in painting, so one seed gives the same scene at every size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from brainenc.core.types import DataError
from brainenc.world.scene_backgrounds import draw_backdrop
from brainenc.world.scene_captions import captions, three_captions
from brainenc.world.scene_light import cast_shadow, light_up
from brainenc.world.scene_masks import draw_silhouette, paint_masks
from brainenc.world.scene_pen import Box, paint
from brainenc.world.scene_plan import (
    BACKDROP,
    CATEGORIES,
    MANNERS,
    MAX_THINGS,
    WORDS,
    Layer,
    Manner,
    ScenePlan,
    clip_box,
    plan_scene,
)

__all__ = [
    "CATEGORIES",
    "MANNERS",
    "MAX_THINGS",
    "Layer",
    "Manner",
    "Scene",
    "ScenePlan",
    "Thing",
    "captions",
    "paint_masks",
    "paint_scene",
    "plan_scene",
    "render_scene",
]

SIZES = (16, 2048)  # smallest and largest image side in pixels


@dataclass(frozen=True)
class Thing:
    """Something shown: its words and its ``box`` (x0, y0, x1, y1) in 0..1 of the image, y downwards."""

    category: str
    phrase: str
    box: Box
    attributes: dict[str, str]


@dataclass(frozen=True)
class Scene:
    """A painted scene.

    Parameters
    ----------
    image : ndarray (size, size, 3) of uint8
        RGB picture.
    captions : (str, str, str)
        Everything with the backdrop; the things; a short version.
    things : tuple of Thing
        Back to front; a place comes first.
    background : str
        ``plain``, ``gradient`` or ``texture``, or the kind of the place.
    """

    image: np.ndarray
    captions: tuple[str, str, str]
    things: tuple[Thing, ...]
    background: str

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories shown, each once, in the order of ``CATEGORIES``."""
        shown = {thing.category for thing in self.things}
        return tuple(category for category in CATEGORIES if category in shown)


def render_scene(
    seed: int, size: int = 64, categories: Sequence[str] | None = None, n_things: int | None = None
) -> Scene:
    """Draw the scene of a seed.

    Parameters
    ----------
    seed : int
        Not negative. One seed gives one scene, at every size.
    size : int
        Side of the image in pixels, 16..2048.
    categories, n_things
        What to show: see :func:`brainenc.world.scene_plan.plan_scene`.

    Returns
    -------
    Scene

    Raises
    ------
    DataError
        If an argument is out of its range or ``n_things`` contradicts ``categories``.
    """
    return paint_scene(plan_scene(seed, categories, n_things), size)


def paint_scene(plan: ScenePlan, size: int = 64) -> Scene:
    """Paint a plan at ``size`` pixels (16..2048); raises DataError for another size."""
    if not SIZES[0] <= size <= SIZES[1]:
        raise DataError(f"Scene size {size} came, {SIZES[0]}..{SIZES[1]} pixels were wanted: choose one of those.")
    factor = 3 if size <= 128 else 2  # painted larger, then averaged: smooth edges
    canvas = paint_ground(plan, size * factor)
    things = []
    if plan.place is not None:
        things.append(Thing("place", plan.place.phrase, (0.0, 0.0, 1.0, 1.0), dict(plan.place.attributes)))
    for layer in plan.layers:
        sketch = layer.placed()
        if plan.light is not None and plan.light.shadow > 0:
            cast_shadow(canvas, draw_silhouette(sketch, size, round(255 * plan.light.shadow)), plan.light)
        paint(canvas, sketch)
        things.append(Thing(layer.category, sketch.phrase, clip_box(sketch.bounds), dict(sketch.attributes)))
    image = np.array(canvas.reduce(factor))
    if plan.light is not None:
        image = light_up(image, plan.light)
    background = plan.backdrop[0] if plan.place is None else plan.place.attributes["kind"]
    return Scene(image, three_captions(np.random.default_rng([plan.seed, WORDS]), plan), tuple(things), background)


def paint_ground(plan: ScenePlan, side: int) -> Image.Image:
    """What lies behind all things, in even light: the backdrop or the place, RGB, ``side`` x ``side``."""
    if plan.place is None:
        return draw_backdrop(np.random.default_rng([plan.seed, BACKDROP]), side)[0]
    canvas = Image.new("RGB", (side, side))
    paint(canvas, plan.place)
    return canvas
