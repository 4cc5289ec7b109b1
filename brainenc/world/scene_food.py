"""Food: pure functions ``rng -> Sketch`` in local coordinates (see :mod:`brainenc.world.scene_pen`)."""

from __future__ import annotations

import math

import numpy as np

from brainenc.world.scene_colours import (
    COLOURS,
    PALETTE,
    WHITE,
    Colour,
    mix,
    pick,
    pick_colour,
    shade,
    vary,
    with_article,
)
from brainenc.world.scene_pen import Pen, Sketch, curve

FRUIT = ("apple", "orange", "banana", "strawberry", "watermelon")
DISHES = ("pizza", "burger", "cake", "egg", "salad", "pasta", "rice", "soup")
ALWAYS_ON_A_PLATE = ("egg", "salad", "pasta", "rice", "soup")


def draw_food(rng: np.random.Generator) -> Sketch:
    """One of five fruits or of eight dishes, dishes often on a plate."""
    kind = pick(rng, FRUIT + DISHES)
    on_plate = kind in ALWAYS_ON_A_PLATE or (kind in DISHES and rng.random() < 0.5)
    pen = Pen()
    plate = pick(rng, PALETTE.split()) if on_plate else "none"
    if on_plate:
        _draw_plate(pen, COLOURS[plate])
    phrase, attributes = DRAWINGS[kind](pen, rng), {"kind": kind, "plate": plate}
    if phrase.split()[1] in COLOURS:
        attributes["colour"] = phrase.split()[1]
    shorts = ("food", "a meal" if on_plate else "something to eat", phrase)
    if on_plate:
        phrase += f" on {with_article(plate)} plate"
    return pen.finish(phrase, pick(rng, shorts), **attributes)


def _draw_plate(pen: Pen, colour: Colour) -> None:
    pen.ellipse(0, 0.2, 1.0, 0.68, shade(colour, 0.7))
    pen.ellipse(0, 0.17, 0.97, 0.64, colour)
    pen.ellipse(0, 0.17, 0.72, 0.46, mix(colour, WHITE, 0.25) if colour != COLOURS["white"] else (226, 228, 235))


def _draw_apple(pen: Pen, rng: np.random.Generator) -> str:
    name, colour = pick_colour(rng, "red green yellow")
    colour = vary(rng, colour)
    pen.ellipse(-0.26, 0.1, 0.5, 0.66, colour)
    pen.ellipse(0.26, 0.1, 0.5, 0.66, colour)
    pen.ellipse(-0.3, -0.1, 0.14, 0.22, mix(colour, WHITE, 0.5))
    pen.stroke([(0, -0.4), (0.06, -0.85)], 0.1, (90, 60, 30))
    pen.ellipse(0.3, -0.72, 0.24, 0.11, (70, 160, 60))
    return f"a {name} apple"


def _draw_orange(pen: Pen, rng: np.random.Generator) -> str:
    colour = vary(rng, (245, 150, 30))
    pen.ellipse(0, 0.05, 0.75, 0.75, shade(colour, 0.86))
    pen.ellipse(-0.04, 0.01, 0.69, 0.69, colour)
    pen.ellipse(-0.25, -0.2, 0.2, 0.2, mix(colour, WHITE, 0.4))
    pen.stroke([(0, -0.62), (0.02, -0.8)], 0.08, (90, 60, 30))
    pen.ellipse(0.2, -0.74, 0.26, 0.1, (60, 140, 55))
    return "an orange fruit"


def _draw_banana(pen: Pen, rng: np.random.Generator) -> str:
    outer = curve(0, -0.35, 0.95, 0.95, 0.1, 2.9, 14)
    inner = curve(0, -0.3, 0.62, 0.5, 2.95, 0.05, 14)
    pen.polygon(outer + inner, vary(rng, (248, 215, 60)))
    pen.arc(0, -0.33, 0.8, 0.76, 0.3, 2.7, 0.05, (210, 165, 40))
    pen.ellipse(0.83, -0.28, 0.1, 0.08, (90, 65, 30))
    pen.ellipse(-0.8, -0.15, 0.1, 0.08, (90, 65, 30))
    return "a yellow banana"


def _draw_strawberry(pen: Pen, rng: np.random.Generator) -> str:
    left = [(-0.62, -0.35), (-0.3, -0.55), (0.3, -0.55), (0.62, -0.35)]
    right = [(0.5, 0.25), (0.2, 0.72), (0, 0.85), (-0.2, 0.72), (-0.5, 0.25)]
    pen.polygon(left + right, vary(rng, (220, 40, 50)))
    upper = ((-0.3, -0.2), (0.05, -0.25), (0.35, -0.15), (-0.15, 0.1))
    lower = ((0.2, 0.12), (-0.05, 0.4), (0.1, 0.6), (-0.36, 0.1))
    for x, y in upper + lower:
        pen.ellipse(x, y, 0.045, 0.06, (250, 225, 120))
    for x in (-0.45, -0.15, 0.15, 0.45):
        pen.polygon([(x - 0.16, -0.5), (x + 0.16, -0.5), (x * 1.7, -0.84)], (60, 150, 55))
    return "a red strawberry"


def _draw_watermelon(pen: Pen, rng: np.random.Generator) -> str:
    for radius, colour in ((1.0, (45, 130, 60)), (0.88, (235, 245, 215)), (0.8, vary(rng, (230, 60, 70)))):
        pen.sector(0, -0.35, radius, radius, 0, math.pi, colour)
    for x, y in ((-0.45, -0.15), (-0.15, 0.1), (0.2, 0.12), (0.48, -0.12), (0, -0.18)):
        pen.ellipse(x, y, 0.045, 0.07, (30, 20, 20))
    return "a slice of watermelon"


def _draw_pizza(pen: Pen, rng: np.random.Generator) -> str:
    pen.ellipse(0, 0.1, 0.78, 0.62, (200, 140, 70))
    pen.ellipse(0, 0.08, 0.66, 0.51, (250, 205, 90))
    turn = 6 * rng.random()
    for i in range(6):
        angle = turn + i * math.pi / 3
        pen.ellipse(0.42 * math.cos(angle), 0.08 + 0.31 * math.sin(angle), 0.13, 0.105, (195, 45, 35))
    pen.ellipse(0, 0.05, 0.12, 0.1, (195, 45, 35))
    for x, y in rng.uniform((-0.4, -0.2), (0.4, 0.35), (4, 2)).tolist():
        pen.ellipse(x, y, 0.06, 0.045, (60, 130, 50))
    return "a pizza"


def _draw_burger(pen: Pen, rng: np.random.Generator) -> str:
    bun = vary(rng, (228, 165, 82), 8)
    pen.rectangle(-0.72, 0.32, 0.72, 0.5, shade(bun, 0.96))
    pen.ellipse(0, 0.5, 0.72, 0.16, shade(bun, 0.96))
    pen.rectangle(-0.76, 0.14, 0.76, 0.34, (100, 58, 34))
    cheese = [(-0.8, 0.02), (0.8, 0.02), (0.7, 0.16), (0.4, 0.08), (0.1, 0.2), (-0.2, 0.08), (-0.5, 0.2)]
    pen.polygon(cheese, (245, 190, 50))
    pen.rectangle(-0.8, -0.08, 0.8, 0.05, (90, 175, 65))
    pen.sector(0, -0.08, 0.76, 0.62, math.pi, 2 * math.pi, bun)
    for x, y in ((-0.3, -0.4), (0.05, -0.52), (0.35, -0.36), (-0.05, -0.28)):
        pen.ellipse(x, y, 0.05, 0.03, (255, 240, 200))
    return "a burger"


def _draw_cake(pen: Pen, rng: np.random.Generator) -> str:
    name, icing = pick_colour(rng, PALETTE)
    sponge = (225, 180, 120)
    pen.rectangle(-0.62, -0.1, 0.62, 0.5, sponge)
    pen.ellipse(0, 0.5, 0.62, 0.14, sponge)
    pen.rectangle(-0.62, -0.25, 0.62, -0.02, icing)
    pen.ellipse(0, -0.25, 0.62, 0.16, shade(icing, 1.06))
    for x in (-0.45, -0.15, 0.15, 0.45):
        pen.ellipse(x, 0.02, 0.13, 0.14, icing)
    pen.rectangle(-0.62, 0.24, 0.62, 0.32, shade(icing, 0.95))
    pen.ellipse(0, -0.4, 0.13, 0.13, (210, 30, 45))
    return f"{with_article(name)} cake"


def _draw_egg(pen: Pen, rng: np.random.Generator) -> str:
    turn = 6 * rng.random()
    rim = []
    for i in range(24):
        angle = i * math.pi / 12
        wobble = 1 + 0.12 * math.sin(3 * angle + turn)
        rim.append((0.6 * math.cos(angle) * wobble, 0.15 + 0.4 * math.sin(angle) * wobble))
    pen.polygon([(x * 1.06, y + 0.03) for x, y in rim], (206, 208, 214))
    pen.polygon(rim, (255, 255, 255))
    pen.ellipse(-0.05, 0.12, 0.22, 0.18, (250, 185, 40))
    pen.ellipse(-0.11, 0.06, 0.07, 0.05, (255, 225, 140))
    return "a fried egg"


def _draw_salad(pen: Pen, rng: np.random.Generator) -> str:
    greens = ((80, 165, 60), (110, 190, 70), (60, 135, 50), (80, 165, 60), (220, 50, 45))
    for angle, radius in rng.uniform((0, 0), (6.28, 0.5), (14, 2)).tolist():
        x, y = radius * math.cos(angle), 0.14 + 0.6 * radius * math.sin(angle)
        pen.ellipse(x, y, 0.17, 0.11, pick(rng, greens))
    return "a salad"


def _draw_pasta(pen: Pen, rng: np.random.Generator) -> str:
    pen.ellipse(0, 0.14, 0.55, 0.36, (240, 205, 110))
    for x, y in rng.uniform((-0.25, -0.05), (0.25, 0.3), (7, 2)).tolist():
        pen.arc(x, y, 0.24, 0.14, 0, 4.5, 0.05, (215, 170, 70))
    pen.ellipse(0, 0.05, 0.26, 0.16, (190, 50, 35))
    return "some pasta"


def _draw_rice(pen: Pen, rng: np.random.Generator) -> str:
    pen.ellipse(0, 0.13, 0.58, 0.38, (196, 196, 190))
    pen.ellipse(0, 0.1, 0.56, 0.37, (252, 250, 238))
    for x, y in rng.uniform((-0.3, -0.1), (0.2, 0.3), (6, 2)).tolist():
        pen.stroke([(x, y), (x + 0.08, y + 0.03)], 0.035, (212, 208, 190))
    pen.ellipse(0.25, 0.25, 0.26, 0.16, (150, 80, 40))
    pen.ellipse(-0.28, 0.28, 0.16, 0.1, (70, 150, 60))
    return "some rice"


def _draw_soup(pen: Pen, rng: np.random.Generator) -> str:
    pen.ellipse(0, 0.16, 0.7, 0.44, pick(rng, ((220, 110, 40), (200, 60, 40), (130, 160, 60))))
    pen.ellipse(0.15, 0.1, 0.1, 0.05, (70, 140, 50))
    pen.ellipse(-0.25, 0.22, 0.1, 0.05, (70, 140, 50))
    return "a soup"


DRAWINGS = {
    "apple": _draw_apple,
    "orange": _draw_orange,
    "banana": _draw_banana,
    "strawberry": _draw_strawberry,
    "watermelon": _draw_watermelon,
    "pizza": _draw_pizza,
    "burger": _draw_burger,
    "cake": _draw_cake,
    "egg": _draw_egg,
    "salad": _draw_salad,
    "pasta": _draw_pasta,
    "rice": _draw_rice,
    "soup": _draw_soup,
}
