"""What a scene shows and where, before any pixel: the plan that pictures, masks, captions and films share.

Positions and sizes are drawn from the same distributions for every category, so that neither tells what is shown:
``sqrt(width x height)`` is uniform over ``AREA_SIDE`` of the image side (the longer side at most ``LONGEST``), the
centre uniform over what keeps a thing inside. All randomness comes from ``numpy.random.default_rng([seed, stream])``:
backdrop, place, light and each thing have streams of their own, so moving or dropping a layer leaves everything else as
it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from brainenc.core.types import DataError
from brainenc.world.scene_backgrounds import name_backdrop
from brainenc.world.scene_colours import pick
from brainenc.world.scene_food import draw_food
from brainenc.world.scene_light import Light, draw_light
from brainenc.world.scene_objects import draw_tool, draw_vehicle, draw_word
from brainenc.world.scene_pen import Box, Point, Sketch
from brainenc.world.scene_people import draw_body, draw_face
from brainenc.world.scene_places import draw_place

CATEGORIES = ("face", "body", "place", "word", "food", "tool", "vehicle")
MAX_THINGS = 6
SHARE_OF_PAIRS = 0.15  # of the scenes with free contents, how many show two things
SHARE_OF_TWINS = 0.2  # of those pairs, how many show one category twice
SHARE_OF_OCCLUSION = 0.2  # of the scenes with several things, how many let one hide a part of another
APART, COVERED = (0.0, 0.1), (0.12, 0.35)  # shared area of two boxes over the smaller one, without and with occlusion
AREA_SIDE = (0.30, 0.62)
LONGEST = 0.82

LAYOUT, BACKDROP, PLACE, WORDS, THINGS, LIGHT = 0, 1, 2, 3, 4, 100  # random streams; thing i has stream THINGS + i


@dataclass(frozen=True)
class Manner:
    """How a category is drawn and placed: largest turn (radians), mirroring, and how far it may leave the image."""

    draw: Callable[[np.random.Generator], Sketch]
    turn: float
    may_mirror: bool
    overhang: float = 0.06  # share of a thing's width or height that may lie outside the image; negative: a margin
    shortest: float = 0.3  # least extent (longer side); words must stay readable


MANNERS = {
    "face": Manner(draw_face, 0.12, True),
    "body": Manner(draw_body, 0.12, True),
    "word": Manner(draw_word, 0.12, False, overhang=-0.03, shortest=0.5),
    "food": Manner(draw_food, 0.25, True),
    "tool": Manner(draw_tool, 1.20, True),
    "vehicle": Manner(draw_vehicle, 0.12, True),
}


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
    """A scene without pixels: seed of its backdrop and words, its place if any, its things back to front, its light.

    ``light`` None is the even light of a drawing: no shade, no shadows, no grain.
    """

    seed: int
    place: Sketch | None
    layers: tuple[Layer, ...]
    light: Light | None = None

    @property
    def backdrop(self) -> tuple[str, str]:
        """Kind and words of the neutral backdrop: ``("texture", "a blue texture")``."""
        return _backdrop_words(self.seed)


@lru_cache(maxsize=256)
def _backdrop_words(seed: int) -> tuple[str, str]:
    kind, _, phrase = name_backdrop(np.random.default_rng([seed, BACKDROP]))
    return kind, phrase


def plan_scene(seed: int, categories: Sequence[str] | None = None, n_things: int | None = None) -> ScenePlan:
    """Choose what a scene shows and where.

    Parameters
    ----------
    seed : int
        Not negative. One seed gives one scene, at every size.
    categories : sequence of str, optional
        Exactly these are shown: none to six of ``CATEGORIES``, a category also several times, and at most one ``place``
        beside them. A place fills the whole image and the others stand in it; without it the backdrop shows no place.
        By default categories are drawn at random.
    n_things : int, optional
        How many different categories to draw at random, 0..6; by default one, sometimes two things.

    Raises
    ------
    DataError
        If an argument is out of its range or ``n_things`` contradicts ``categories``.
    """
    _check(seed, categories, n_things)
    rng = np.random.default_rng([seed, LAYOUT])
    if categories is None:
        categories = _draw_categories(rng, n_things)
    place = draw_place(np.random.default_rng([seed, PLACE])) if "place" in categories else None
    shown = [category for category in categories if category != "place"]
    sketches = [MANNERS[name].draw(np.random.default_rng([seed, THINGS + i])) for i, name in enumerate(shown)]
    wanted = COVERED if len(shown) > 1 and rng.random() < SHARE_OF_OCCLUSION else APART
    layers: list[Layer] = []
    taken: list[Box] = []
    for i in rng.permutation(len(shown)):
        wanted_here = wanted if len(taken) == 1 else APART
        layer, box = _stand(rng, shown[i], sketches[i], taken, wanted_here, len(shown), place is not None)
        layers.append(layer)
        taken.append(box)
    return ScenePlan(seed, place, tuple(layers), draw_light(np.random.default_rng([seed, LIGHT])))


def _draw_categories(rng: np.random.Generator, n_things: int | None) -> list[str]:
    twins = False
    if n_things is None:
        n_things = 2 if rng.random() < SHARE_OF_PAIRS else 1
        twins = n_things == 2 and rng.random() < SHARE_OF_TWINS
    if twins:
        return [pick(rng, list(MANNERS))] * 2
    return [CATEGORIES[i] for i in rng.permutation(len(CATEGORIES))[:n_things]]


def _stand(
    rng: np.random.Generator,
    category: str,
    sketch: Sketch,
    taken: Sequence[Box],
    wanted: tuple[float, float],
    n_things: int,
    in_place: bool,
) -> tuple[Layer, Box]:
    """Find a spot that hides as much as wanted of those already there: try, shrink and try again."""
    manner = MANNERS[category]
    angle = rng.uniform(-manner.turn, manner.turn)
    mirrored = manner.may_mirror and bool(rng.random() < 0.5)
    x0, y0, x1, y1 = sketch.placed((0.0, 0.0), 1.0, angle, mirrored).bounds
    area_side = rng.uniform(*AREA_SIDE) * n_things**-0.4
    extent = min(LONGEST, max(manner.shortest * n_things**-0.2, area_side / math.sqrt((x1 - x0) * (y1 - y0))))
    top = 0.45 if in_place and category != "word" else 0.15  # in a place things stand on the ground rather than fly
    least, chosen, best, spot = math.inf, extent, (0.5, 0.5), (0.0, 0.0, 1.0, 1.0)
    for attempt in range(30):
        trial = extent * (1.0 if attempt < 10 else 0.97 ** (attempt - 9))
        inside_x, inside_y = (0.5 - manner.overhang) * trial * (x1 - x0), (0.5 - manner.overhang) * trial * (y1 - y0)
        low_x, low_y = max(0.15, inside_x), max(top, inside_y)
        high_x, high_y = min(0.85, 1 - inside_x), max(min(0.85, 1 - inside_y), low_y)
        centre = (rng.uniform(low_x, high_x), rng.uniform(low_y, high_y))
        half_x, half_y = trial * (x1 - x0) / 2, trial * (y1 - y0) / 2
        box = clip_box((centre[0] - half_x, centre[1] - half_y, centre[0] + half_x, centre[1] + half_y))
        hidden = max((_overlap(box, other) for other in taken), default=wanted[0])
        miss = max(wanted[0] - hidden, hidden - wanted[1], 0.0)
        if miss < least:
            least, chosen, best, spot = miss, trial, centre, box
        if miss == 0:
            break
    return Layer(category, sketch, best, chosen, angle, mirrored), spot


def _overlap(first: Box, second: Box) -> float:
    """Shared area of two boxes over the area of the smaller one."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / min((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))


def clip_box(box: Box) -> Box:
    """The part of a box inside the image."""
    x0, y0, x1, y1 = (min(1.0, max(0.0, value)) for value in box)
    return x0, y0, x1, y1


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
