"""Procedural captioned scenes: colour pictures whose contents, positions and words are all known.

A scene is a backdrop (neutral, or a place that fills it) and up to six things on it. It is made in two steps, so that
films and larger generators can step in between:

    plan = plan_scene(seed, categories)      # what stands where, in units of the image side: no pixels
    scene = paint_scene(plan, size)          # pixels, captions, boxes

``render_scene`` does both. All randomness comes from ``numpy.random.default_rng([seed, stream])``; the size enters only
in the last step, so one seed gives the same scene at every size. Backdrop, place and each thing have streams of their
own: moving or dropping a layer leaves everything else as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from brainenc.core.types import DataError
from brainenc.world.scene_backgrounds import draw_backdrop
from brainenc.world.scene_colours import pick
from brainenc.world.scene_food import draw_food
from brainenc.world.scene_objects import draw_tool, draw_vehicle, draw_word
from brainenc.world.scene_pen import Box, Point, Sketch, paint
from brainenc.world.scene_people import draw_body, draw_face
from brainenc.world.scene_places import ambience, draw_place, preposition

CATEGORIES = ("face", "body", "place", "word", "food", "tool", "vehicle")
MAX_THINGS = 6
SIZES = (16, 2048)  # smallest and largest image side in pixels
SHARE_OF_PAIRS = 0.15  # of the scenes with free contents, how many show two things

_LAYOUT, _BACKDROP, _PLACE, _WORDS, _THINGS = range(5)  # random streams of one seed; thing i has stream _THINGS + i


@dataclass(frozen=True)
class Manner:
    """How a category is drawn and placed: smallest and largest extent (longer side), largest turn (radians)."""

    draw: Callable[[np.random.Generator], Sketch]
    extents: tuple[float, float]
    turn: float
    may_mirror: bool
    overhang: float = 0.06  # share of a thing's width or height that may lie outside the image; negative: a margin


MANNERS = {
    "face": Manner(draw_face, (0.26, 0.72), 0.12, True),
    "body": Manner(draw_body, (0.30, 0.75), 0.06, True),
    "word": Manner(draw_word, (0.42, 0.75), 0.10, False, overhang=-0.03),
    "food": Manner(draw_food, (0.26, 0.70), 0.25, True),
    "tool": Manner(draw_tool, (0.28, 0.72), 1.20, True),
    "vehicle": Manner(draw_vehicle, (0.30, 0.75), 0.06, True),
}


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


@dataclass(frozen=True)
class Layer:
    """A thing that stands somewhere: ``replace(layer, centre=...)`` moves it, the drawing stays the same."""

    category: str
    sketch: Sketch
    centre: Point
    extent: float
    angle: float = 0.0
    mirrored: bool = False

    def placed(self) -> Sketch:
        """The sketch in units of the image side."""
        return self.sketch.placed(self.centre, self.extent, self.angle, self.mirrored)


@dataclass(frozen=True)
class ScenePlan:
    """A scene without pixels: seed of its backdrop and words, its place if any, its things back to front."""

    seed: int
    place: Sketch | None
    layers: tuple[Layer, ...]


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
    categories : sequence of str, optional
        Exactly these are shown: none to six of ``CATEGORIES``, a category also several times, and at most one ``place``
        beside them. A place fills the whole image (box (0, 0, 1, 1)) and the others stand in it; without it the
        backdrop shows no place. By default categories are drawn at random, each once.
    n_things : int, optional
        How many categories to draw at random, 0..6; by default one, sometimes two.

    Returns
    -------
    Scene

    Raises
    ------
    DataError
        If an argument is out of its range or ``n_things`` contradicts ``categories``.
    """
    return paint_scene(plan_scene(seed, categories, n_things), size)


def plan_scene(seed: int, categories: Sequence[str] | None = None, n_things: int | None = None) -> ScenePlan:
    """Choose what a scene shows and where: see :func:`render_scene` for the arguments and errors."""
    _check(seed, categories, n_things)
    rng = np.random.default_rng([seed, _LAYOUT])
    if categories is None:
        if n_things is None:
            n_things = 2 if rng.random() < SHARE_OF_PAIRS else 1
        categories = [CATEGORIES[i] for i in rng.permutation(len(CATEGORIES))[:n_things]]
    place = draw_place(np.random.default_rng([seed, _PLACE])) if "place" in categories else None
    shown = [category for category in categories if category != "place"]
    sketches = [MANNERS[name].draw(np.random.default_rng([seed, _THINGS + i])) for i, name in enumerate(shown)]
    layers: list[Layer] = []
    taken: list[Box] = []
    for i in rng.permutation(len(shown)):
        layer, box = _stand(rng, shown[i], sketches[i], taken, len(shown), place is not None)
        layers.append(layer)
        taken.append(box)
    return ScenePlan(seed, place, tuple(layers))


def paint_scene(plan: ScenePlan, size: int = 64) -> Scene:
    """Paint a plan at ``size`` pixels (16..2048); raises DataError for another size."""
    if not SIZES[0] <= size <= SIZES[1]:
        raise DataError(f"Scene size {size} came, {SIZES[0]}..{SIZES[1]} pixels were wanted: choose one of those.")
    side = size * (3 if size <= 128 else 2)  # painted larger, then averaged: smooth edges
    placed = [(layer.category, layer.placed()) for layer in plan.layers]
    if plan.place is None:
        canvas, background, backdrop = draw_backdrop(np.random.default_rng([plan.seed, _BACKDROP]), side)
        things = []
    else:
        canvas, background, backdrop = Image.new("RGB", (side, side)), plan.place.attributes["kind"], ""
        paint(canvas, plan.place)
        things = [Thing("place", plan.place.phrase, (0.0, 0.0, 1.0, 1.0), dict(plan.place.attributes))]
    for category, sketch in placed:
        paint(canvas, sketch)
        things.append(Thing(category, sketch.phrase, _clip(sketch.bounds), dict(sketch.attributes)))
    image = np.array(canvas.reduce(side // size))
    captions = _write_captions(np.random.default_rng([plan.seed, _WORDS]), plan, backdrop)
    return Scene(image, captions, tuple(things), background)


def _stand(
    rng: np.random.Generator, category: str, sketch: Sketch, taken: Sequence[Box], n_things: int, in_place: bool
) -> tuple[Layer, Box]:
    """Find a free spot: shrink and try again while the thing hides too much of those already there."""
    manner = MANNERS[category]
    smallest, largest = manner.extents
    crowding = n_things**-0.4
    angle = rng.uniform(-manner.turn, manner.turn)
    mirrored = manner.may_mirror and bool(rng.random() < 0.5)
    x0, y0, x1, y1 = sketch.placed((0.0, 0.0), 1.0, angle, mirrored).bounds
    extent = rng.uniform(smallest, max(largest * crowding, smallest))
    top = 0.45 if in_place and category != "word" else 0.15  # in a place things stand on the ground rather than fly
    least, chosen, best, spot = np.inf, extent, (0.5, 0.5), (0.0, 0.0, 1.0, 1.0)
    for attempt in range(30):
        trial = extent * (1.0 if attempt < 10 else 0.97 ** (attempt - 9))
        inside_x, inside_y = (0.5 - manner.overhang) * trial * (x1 - x0), (0.5 - manner.overhang) * trial * (y1 - y0)
        low_x, low_y = max(0.15, inside_x), max(top, inside_y)
        high_x, high_y = min(0.85, 1 - inside_x), max(min(0.85, 1 - inside_y), low_y)
        centre = (rng.uniform(low_x, high_x), rng.uniform(low_y, high_y))
        half_x, half_y = trial * (x1 - x0) / 2, trial * (y1 - y0) / 2
        box = _clip((centre[0] - half_x, centre[1] - half_y, centre[0] + half_x, centre[1] + half_y))
        hidden = max((_overlap(box, other) for other in taken), default=0.0)
        if hidden < least:
            least, chosen, best, spot = hidden, trial, centre, box
        if hidden < 0.1:
            break
    return Layer(category, sketch, best, chosen, angle, mirrored), spot


def _overlap(first: Box, second: Box) -> float:
    """Shared area of two boxes over the area of the smaller one."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / min((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))


def _clip(box: Box) -> Box:
    x0, y0, x1, y1 = (min(1.0, max(0.0, value)) for value in box)
    return x0, y0, x1, y1


def _write_captions(rng: np.random.Generator, plan: ScenePlan, backdrop: str) -> tuple[str, str, str]:
    link = pick(rng, (" and ", " next to ")) if len(plan.layers) == 2 else " and "
    things = _enumerate([layer.sketch.phrase for layer in plan.layers], link)
    short = _enumerate([layer.sketch.short for layer in plan.layers], " and ")
    if plan.place is None:
        if not things:
            return f"nothing but {backdrop}", backdrop, "nothing"
        return f"{things} on {backdrop}", things, short
    place, light = plan.place, ambience(plan.place)
    if not things:
        opening = pick(rng, ("a view of ", "a picture of ", ""))
        return f"{opening}{place.phrase} {light}", place.phrase, place.short
    main = f"{things} {preposition(place)} {place.phrase}"
    return f"{main} {light}", main, f"{short} and {place.short}"


def _enumerate(phrases: Sequence[str], link: str) -> str:
    """``[a, b, c] -> "a, b and c"``."""
    if len(phrases) < 2:
        return "".join(phrases)
    return ", ".join(phrases[:-1]) + link + phrases[-1]


def _check(seed: int, categories: Sequence[str] | None, n_things: int | None) -> None:
    if seed < 0:
        raise DataError(f"Seed {seed} came, an integer from 0 was wanted: choose another seed.")
    if n_things is not None and not 0 <= n_things <= MAX_THINGS:
        raise DataError(f"n_things {n_things} came, 0..{MAX_THINGS} were wanted: ask for fewer things.")
    if categories is None:
        return
    if isinstance(categories, str):
        raise DataError(f"Categories came as the string {categories!r}, a list was wanted: write [{categories!r}].")
    unknown = [category for category in categories if category not in CATEGORIES]
    if unknown:
        raise DataError(f"Category {unknown[0]!r} came, some of {', '.join(CATEGORIES)} were wanted: correct its name.")
    n_places = list(categories).count("place")
    if n_places > 1 or len(categories) - n_places > MAX_THINGS:
        came = f"{n_places} places and {len(categories) - n_places} other things"
        raise DataError(f"{came} came, at most one place and {MAX_THINGS} others were wanted: ask for fewer.")
    if n_things is not None and n_things != len(categories):
        raise DataError(f"n_things {n_things} came with {len(categories)} categories: give only one of the two.")
