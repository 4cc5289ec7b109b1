"""Places: pure functions ``rng -> Sketch`` that fill the image: landscapes, streets, houses (rooms: ``scene_rooms``).

Local coordinates run over [-1, 1] x [-1, 1], y downwards; ``Sketch.framed`` maps them onto the image. The attribute
``kind`` names the place, ``sky`` its light.
"""

from __future__ import annotations

import numpy as np

from brainenc.world.scene_colours import COLOURS, WHITE, Colour, mix, pick, pick_colour, shade, vary, with_article
from brainenc.world.scene_pen import Pen, Sketch
from brainenc.world.scene_rooms import draw_room

SKIES: dict[str, tuple[Colour, Colour]] = {
    "blue": ((95, 155, 230), (200, 225, 248)),
    "orange": ((250, 185, 125), (250, 225, 180)),
    "grey": ((150, 165, 182), (208, 213, 220)),
}
PREPOSITIONS = {"room": "in", "street": "on", "beach": "on", "field": "in", "forest": "in", "road": "on"}
SETTINGS = {"field": "in a field", "forest": "in a forest", "mountains": "near mountains", "beach": "on a beach"}


def draw_place(rng: np.random.Generator) -> Sketch:
    """A house, a room, a city street or one of five landscapes, filling the unit square."""
    kind = pick(rng, ("house", "house", "room", "room", "street", "landscape", "landscape", "landscape"))
    sketch = {"house": _draw_house, "room": draw_room, "street": _draw_street, "landscape": _draw_landscape}[kind](rng)
    return sketch.framed(mirrored=rng.random() < 0.5)


def preposition(place: Sketch) -> str:
    """The word between a thing and the place it stands in: ``"a car" + "on" + "a beach"``."""
    return PREPOSITIONS.get(place.attributes["kind"], "in front of")


def ambience(place: Sketch) -> str:
    """The words a full caption adds to a place: its sky or its walls."""
    if "sky" in place.attributes:
        return f"under {with_article(place.attributes['sky'])} sky"
    return f"{'and' if ' with ' in place.phrase else 'with'} {place.attributes['walls']} walls"


def _draw_sky(pen: Pen, rng: np.random.Generator, horizon: float) -> str:
    name = pick(rng, ("blue", "blue", "orange", "grey"))
    top, bottom = SKIES[name]
    pen.gradient(-1.1, horizon + 0.1, vary(rng, top, 10), bottom)
    if name != "grey" and rng.random() < 0.35:
        pen.ellipse(rng.uniform(-0.8, 0.8), rng.uniform(-0.85, -0.65), 0.15, 0.15, (255, 238, 160))
    elif rng.random() < 0.5:
        for _ in range(2):
            x, y = rng.uniform(-0.8, 0.8), rng.uniform(-0.92, -0.55)
            for dx, size in ((-0.16, 0.8), (0, 1.0), (0.16, 0.75)):
                pen.ellipse(x + dx, y, 0.16 * size, 0.1 * size, mix(WHITE, bottom, 0.25))
    return name


def _draw_ground(pen: Pen, rng: np.random.Generator, horizon: float, colour: Colour) -> None:
    colour = vary(rng, colour)
    pen.gradient(horizon, 1.1, colour, shade(colour, 0.72))


def _draw_tree(pen: Pen, rng: np.random.Generator, x: float, foot: float, height: float) -> None:
    green = vary(rng, (38, 118, 52), 22)
    pen.rectangle(x - 0.06 * height, foot - 0.35 * height, x + 0.06 * height, foot, (92, 62, 38))
    if rng.random() < 0.5:
        for i in range(3):
            half, base = height * (0.34 - 0.07 * i), foot - height * (0.22 + 0.24 * i)
            tip = foot - height * (0.58 + 0.21 * i)
            pen.polygon([(x - half, base), (x + half, base), (x, tip)], shade(green, 0.85 + 0.12 * i))
    else:
        pen.ellipse(x, foot - 0.66 * height, 0.3 * height, 0.34 * height, green)
        pen.ellipse(x - 0.08 * height, foot - 0.74 * height, 0.16 * height, 0.17 * height, shade(green, 1.2))


def _draw_forest(pen: Pen, rng: np.random.Generator) -> str:
    horizon = rng.uniform(-0.15, 0.25)
    sky = _draw_sky(pen, rng, horizon)
    _draw_ground(pen, rng, horizon, (80, 140, 60))
    feet = np.sort(rng.uniform(0.06, 0.5, 7)) + horizon
    for x, foot in zip(rng.permutation(np.linspace(-1, 1, 7)) + rng.normal(0, 0.08, 7), feet, strict=True):
        _draw_tree(pen, rng, float(x), float(foot), rng.uniform(0.85, 1.35) * (0.7 + float(foot - horizon)))
    return sky


def _draw_beach(pen: Pen, rng: np.random.Generator) -> str:
    horizon = rng.uniform(-0.3, 0.05)
    shore = horizon + rng.uniform(0.3, 0.5)
    sky = _draw_sky(pen, rng, horizon)
    water = vary(rng, (40, 120, 190))
    pen.gradient(horizon, shore + 0.05, water, mix(water, (150, 220, 230), 0.5))
    _draw_ground(pen, rng, shore, (238, 213, 158))
    crest = [(-1.1, 0.0), (-0.5, -0.06), (0, 0.03), (0.5, -0.05), (1.1, 0.02), (1.1, 0.08), (-1.1, 0.08)]
    pen.polygon([(x, shore + y) for x, y in crest], WHITE)
    if rng.random() < 0.5:
        x, foot = rng.uniform(-0.8, -0.4), shore + rng.uniform(0.25, 0.45)
        _draw_palm(pen, x, foot, rng.uniform(0.85, 1.15))
    return sky


def _draw_palm(pen: Pen, x: float, foot: float, height: float) -> None:
    top = foot - height
    pen.stroke([(x, foot), (x + 0.05, foot - 0.5 * height), (x + 0.16, top)], 0.08, (135, 95, 58))
    for dx, dy in ((-0.38, 0.12), (-0.3, -0.14), (0.02, -0.22), (0.32, -0.1), (0.36, 0.16)):
        x0, x1, tip = x + 0.16, x + 0.16 + dx, top + dy
        leaf = [(x0, top - 0.05), ((x0 + x1) / 2, tip - 0.09), (x1, tip + 0.06), (x0, top + 0.05)]
        pen.polygon(leaf, (52, 135, 62))


def _draw_mountains(pen: Pen, rng: np.random.Generator) -> str:
    foot = rng.uniform(0.2, 0.45)
    sky = _draw_sky(pen, rng, foot)
    rock = vary(rng, (105, 110, 130))
    for x in (-0.8, 0.0, 0.8):
        x += rng.normal(0, 0.15)
        height, half = rng.uniform(0.6, 1.1), rng.uniform(0.55, 0.8)
        peak, side = foot - height, shade(rock, rng.uniform(0.85, 1.1))
        pen.polygon([(x - half, foot), (x, peak), (x + half, foot)], side)
        pen.polygon([(x, peak), (x + half, foot), (x + 0.25 * half, foot)], shade(side, 0.75))
        snow = [(0, 0), (-0.28, 0.28), (-0.08, 0.22), (0.07, 0.32), (0.28, 0.28)]
        pen.polygon([(x + dx * half, peak + dy * height) for dx, dy in snow], WHITE)
    _draw_ground(pen, rng, foot, (96, 150, 70))
    return sky


def _draw_field(pen: Pen, rng: np.random.Generator) -> str:
    horizon = rng.uniform(-0.2, 0.2)
    sky = _draw_sky(pen, rng, horizon)
    hill = vary(rng, (96, 150, 84))
    for x in (-0.6, 0.5):
        pen.ellipse(x + rng.normal(0, 0.2), horizon + 0.12, rng.uniform(0.6, 0.9), rng.uniform(0.2, 0.38), hill)
    ground = pick(rng, ((110, 175, 70), (205, 182, 82)))
    _draw_ground(pen, rng, horizon + 0.06, ground)
    for i in range(-3, 4):  # furrows run to a vanishing point
        pen.polygon([(0.1 * i, horizon + 0.1), (0.75 * i - 0.08, 1.1), (0.75 * i + 0.08, 1.1)], shade(ground, 0.82))
    return sky


def _draw_road(pen: Pen, rng: np.random.Generator) -> str:
    horizon, bend = rng.uniform(-0.2, 0.1), rng.uniform(-0.35, 0.35)
    sky = _draw_sky(pen, rng, horizon)
    _draw_ground(pen, rng, horizon, pick(rng, ((100, 155, 70), (190, 165, 95))))
    pen.polygon([(bend - 0.03, horizon), (bend + 0.03, horizon), (0.75, 1.1), (-0.75, 1.1)], (92, 94, 100))
    for near, far in ((0.95, 0.68), (0.5, 0.36), (0.26, 0.18)):
        corners = ((near, -1), (near, 1), (far, 1), (far, -1))
        line = [(bend * (1 - s) + side * 0.05 * s, horizon + (1.1 - horizon) * s) for s, side in corners]
        pen.polygon(line, (238, 228, 170))
    for side in (-1, 1):
        for s in (0.16, 0.4):
            _draw_tree(pen, rng, bend * (1 - s) + side * (0.3 + 1.3 * s), horizon + 1.1 * s, 0.3 + 1.4 * s)
    return sky


LANDSCAPES = {
    "forest": (_draw_forest, "a forest"),
    "beach": (_draw_beach, "a beach"),
    "mountains": (_draw_mountains, "mountains"),
    "field": (_draw_field, "a field"),
    "road": (_draw_road, "a country road"),
}


def _draw_landscape(rng: np.random.Generator) -> Sketch:
    kind = pick(rng, list(LANDSCAPES))
    draw, phrase = LANDSCAPES[kind]
    pen = Pen()
    sky = draw(pen, rng)
    short = pick(rng, ("a landscape", phrase, "a place", f"a view of {phrase}"))
    return pen.finish(phrase, short, kind=kind, sky=sky)


def _draw_street(rng: np.random.Generator) -> Sketch:
    pen = Pen()
    foot = rng.uniform(0.4, 0.58)
    sky = _draw_sky(pen, rng, foot)
    x = -1.1 + 0.1 * rng.random()
    while x < 1.1:
        width, height = rng.uniform(0.28, 0.46), rng.uniform(0.6, 1.45)
        wall = vary(rng, pick(rng, ((120, 125, 140), (158, 122, 104), (95, 105, 130), (176, 160, 136))))
        pen.rectangle(x, foot - height, x + width, foot, wall)
        lit = pick(rng, ((250, 235, 150), (205, 225, 240)))
        for row in range(int((height - 0.15) / 0.2)):
            y = foot - height + 0.09 + 0.2 * row
            pen.rectangle(x + 0.05, y, x + 0.05 + 0.3 * width, y + 0.1, lit)
            pen.rectangle(x + width - 0.05 - 0.3 * width, y, x + width - 0.05, y + 0.1, lit)
        x += width + 0.02
    pen.rectangle(-1.1, foot, 1.1, foot + 0.08, (172, 170, 166))
    pen.gradient(foot + 0.08, 1.1, (92, 94, 100), (70, 72, 78))
    for i in range(6):
        pen.rectangle(-1.0 + 0.4 * i, foot + 0.28, -0.78 + 0.4 * i, foot + 0.33, (235, 225, 170))
    return pen.finish(
        "a city street", pick(rng, ("a street", "a city", "a place", "a view of a city")), kind="street", sky=sky
    )


def _draw_house(rng: np.random.Generator) -> Sketch:
    setting = pick(rng, list(SETTINGS))
    name, wall = pick_colour(rng, "white yellow red blue grey pink brown")
    wall = mix(wall, WHITE, 0.25)
    roof = pick(rng, ((150, 55, 45), (90, 60, 50), (70, 75, 90), (175, 95, 50)))
    door = COLOURS[pick(rng, ("brown", "red", "green", "blue"))]
    pen = Pen()
    sky = LANDSCAPES[setting][0](pen, rng)
    house = Pen()
    house.rectangle(-0.72, -0.2, 0.72, 0.9, wall)
    house.rectangle(0.3, -0.2, 0.72, 0.9, shade(wall, 0.92))
    house.rectangle(0.34, -0.85, 0.54, -0.3, shade(roof, 0.7))
    house.polygon([(-0.92, -0.18), (rng.uniform(-0.2, 0.2), -0.95), (0.92, -0.18)], roof)
    house.rectangle(-0.15, 0.3, 0.17, 0.9, door)
    house.ellipse(0.1, 0.62, 0.035, 0.035, (240, 220, 120))
    for x in (-0.46, 0.46):
        house.rectangle(x - 0.18, 0.0, x + 0.18, 0.4, WHITE)
        house.rectangle(x - 0.14, 0.04, x + 0.14, 0.36, (120, 175, 215))
        house.rectangle(x - 0.02, 0.04, x + 0.02, 0.36, WHITE)
        house.rectangle(x - 0.14, 0.18, x + 0.14, 0.22, WHITE)
    extent = rng.uniform(1.1, 1.5)
    middle = (rng.uniform(-0.25, 0.25), rng.uniform(0.8, 0.9) - extent / 2)
    pen.add(house.finish("", "").placed(middle, extent))
    short = pick(rng, ("a house", "a building", "a place"))
    return pen.finish(
        f"{with_article(name)} house {SETTINGS[setting]}", short, kind="house", sky=sky, colour=name, setting=setting
    )
