"""Rooms: floor, walls and furniture, pure functions ``rng -> Sketch`` over [-1, 1] x [-1, 1], y downwards."""

from __future__ import annotations

import numpy as np

from brainenc.world.scene_colours import COLOURS, WHITE, WOOD, Colour, mix, pick, pick_colour, shade, vary
from brainenc.world.scene_pen import Pen, Sketch

FURNITURE_COLOURS = "red blue green yellow purple grey"


def draw_room(rng: np.random.Generator) -> Sketch:
    """A room with a bed, a sofa, a table, a bookcase or a kitchen counter, and perhaps a window and a lamp."""
    pen = Pen()
    walls = pick(rng, ("white", "yellow", "blue", "green", "pink"))
    wall = mix(COLOURS[walls], (245, 240, 232), 0.62)
    edge = rng.uniform(0.3, 0.5)
    pen.gradient(-1.1, edge, wall, shade(wall, 0.92))
    _draw_floor(pen, vary(rng, pick(rng, ((150, 105, 66), (176, 138, 96), (128, 124, 122)))), edge)
    extras = []
    x = rng.uniform(-0.3, 0.3)
    if rng.random() < 0.75:
        _draw_window(pen, pick(rng, (-0.6, 0.0, 0.6)))
        extras.append("window")
    kind = pick(rng, list(FURNITURE))
    name, colour = ("wooden", WOOD) if kind in ("table", "bookcase") else pick_colour(rng, FURNITURE_COLOURS)
    FURNITURE[kind](pen, rng, x, colour)
    if rng.random() < 0.4:
        _draw_lamp(pen, pick(rng, (-0.85, 0.85)))
        extras.append("lamp")
    phrase = f"a {name} kitchen" if kind == "kitchen" else f"a room with a {name} {kind}"
    if extras:
        phrase += (" with " if kind == "kitchen" else " and ") + f"a {extras[0]}"
    near = "a kitchen" if kind == "kitchen" else f"a {kind} in a room"
    short = pick(rng, ("a room", "the inside of a room", near, "a place"))
    return pen.finish(phrase, short, kind="room", walls=walls, furniture=kind, colour=name)


def _draw_floor(pen: Pen, floor: Colour, edge: float) -> None:
    pen.gradient(edge, 1.1, floor, shade(floor, 0.8))
    for i in range(-5, 6):  # boards run to a vanishing point above the floor
        far, near = 0.28 * i, 0.5 * i
        board = [(far - 0.006, edge), (far + 0.006, edge), (near + 0.012, 1.1), (near - 0.012, 1.1)]
        pen.polygon(board, shade(floor, 0.78))
    pen.rectangle(-1.1, edge - 0.05, 1.1, edge, (250, 248, 244))


def _draw_window(pen: Pen, x: float) -> None:
    pen.rectangle(x - 0.3, -0.85, x + 0.3, -0.2, (250, 250, 248))
    pen.rectangle(x - 0.25, -0.8, x + 0.25, -0.25, (150, 205, 240))
    pen.rectangle(x - 0.02, -0.8, x + 0.02, -0.25, (250, 250, 248))
    pen.rectangle(x - 0.25, -0.55, x + 0.25, -0.51, (250, 250, 248))
    pen.rectangle(x - 0.34, -0.2, x + 0.34, -0.15, (226, 224, 218))


def _draw_lamp(pen: Pen, x: float) -> None:
    pen.rectangle(x - 0.02, -0.2, x + 0.02, 0.6, (80, 70, 60))
    pen.ellipse(x, 0.6, 0.12, 0.04, (80, 70, 60))
    pen.polygon([(x - 0.18, -0.2), (x + 0.18, -0.2), (x + 0.1, -0.5), (x - 0.1, -0.5)], (250, 225, 150))


def _draw_bed(pen: Pen, rng: np.random.Generator, x: float, colour: Colour) -> None:
    frame = shade(WOOD, 0.92)
    pen.rectangle(x - 0.72, -0.05, x - 0.6, 0.78, frame)
    pen.rectangle(x - 0.62, 0.32, x + 0.68, 0.66, colour)
    pen.rectangle(x - 0.62, 0.26, x + 0.68, 0.4, shade(colour, 1.25))
    pen.ellipse(x - 0.42, 0.25, 0.19, 0.1, WHITE)
    pen.rectangle(x - 0.62, 0.64, x + 0.68, 0.7, frame)
    pen.rectangle(x + 0.6, 0.3, x + 0.7, 0.78, frame)


def _draw_sofa(pen: Pen, rng: np.random.Generator, x: float, colour: Colour) -> None:
    pen.rectangle(x - 0.6, -0.05, x + 0.6, 0.45, shade(colour, 0.85))
    pen.rectangle(x - 0.6, 0.28, x + 0.6, 0.62, colour)
    for side in (-1, 1):
        pen.rectangle(x + 0.64 * side - 0.1, 0.12, x + 0.64 * side + 0.1, 0.66, shade(colour, 0.72))
        pen.rectangle(x + 0.6 * side - 0.03, 0.66, x + 0.6 * side + 0.03, 0.74, (60, 45, 35))
    pen.rectangle(x - 0.02, 0.3, x + 0.02, 0.6, shade(colour, 0.75))


def _draw_table(pen: Pen, rng: np.random.Generator, x: float, colour: Colour) -> None:
    pen.rectangle(x - 0.5, 0.3, x - 0.43, 0.72, shade(colour, 0.8))
    pen.rectangle(x + 0.43, 0.3, x + 0.5, 0.72, shade(colour, 0.8))
    pen.polygon([(x - 0.5, 0.2), (x + 0.5, 0.2), (x + 0.68, 0.36), (x - 0.68, 0.36)], shade(colour, 1.35))
    pen.rectangle(x - 0.68, 0.35, x + 0.68, 0.42, colour)
    for leg in (-0.64, 0.56):
        pen.rectangle(x + leg, 0.4, x + leg + 0.08, 0.88, colour)
    if rng.random() < 0.5:  # a vase with a flower
        pen.stroke([(x, 0.05), (x, -0.12)], 0.035, (60, 130, 60))
        pen.ellipse(x, -0.16, 0.085, 0.085, pick_colour(rng, "red yellow pink purple")[1])
        pen.polygon([(x - 0.07, 0.02), (x + 0.07, 0.02), (x + 0.1, 0.26), (x - 0.1, 0.26)], (90, 140, 190))


def _draw_bookcase(pen: Pen, rng: np.random.Generator, x: float, colour: Colour) -> None:
    pen.rectangle(x - 0.5, -0.7, x + 0.5, 0.62, colour)
    for row in range(4):
        bottom = -0.36 + 0.32 * row
        pen.rectangle(x - 0.45, bottom - 0.28, x + 0.45, bottom, shade(colour, 0.5))
        left = x - 0.44
        while left < x + 0.3:
            width, height = rng.uniform(0.06, 0.12), rng.uniform(0.17, 0.26)
            book = pick_colour(rng, "red blue green yellow orange purple white")[1]
            pen.rectangle(left, bottom - height, left + width - 0.012, bottom, shade(book, 0.9))
            left += width


def _draw_kitchen(pen: Pen, rng: np.random.Generator, x: float, colour: Colour) -> None:
    front = mix(colour, WHITE, 0.3)
    pen.rectangle(-1.1, 0.06, 1.1, 0.68, front)
    pen.rectangle(-1.1, 0.0, 1.1, 0.08, (86, 82, 80))
    for i in range(5):
        left = -1.05 + 0.44 * i
        pen.rectangle(left + 0.02, 0.13, left + 0.4, 0.62, shade(front, 0.88))
        pen.ellipse(left + 0.34, 0.3, 0.025, 0.025, (70, 70, 74))
    pen.rectangle(x + 0.12, 0.06, x + 0.56, 0.68, (58, 60, 66))
    pen.rectangle(x + 0.18, 0.26, x + 0.5, 0.56, (30, 30, 34))
    pen.rectangle(x + 0.22, -0.12, x + 0.46, 0.0, (176, 180, 188))
    pen.stroke([(x + 0.46, -0.08), (x + 0.6, -0.1)], 0.035, (60, 60, 66))


FURNITURE = {
    "bed": _draw_bed,
    "sofa": _draw_sofa,
    "table": _draw_table,
    "bookcase": _draw_bookcase,
    "kitchen": _draw_kitchen,
}
