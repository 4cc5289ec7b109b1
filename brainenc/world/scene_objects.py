"""Words, tools, vehicles: pure functions ``rng -> Sketch`` in local coordinates (:mod:`brainenc.world.scene_pen`)."""

from __future__ import annotations

import math

import numpy as np

from brainenc.world.scene_colours import (
    COLOURS,
    DARK,
    GLASS,
    PALETTE,
    Colour,
    luminance,
    pick,
    pick_colour,
    shade,
    with_article,
)
from brainenc.world.scene_pen import Pen, Sketch, curve

WORDS = """
cat dog sun tree book fish hand milk open stop exit shop cafe news park road home love time wind
moon star rain snow blue gold rock lake hill salt wine rice bird frog lion bear door wall king game
team club bank post food play read note idea hope luck joy sky sea ice fire map
key box cup pen hat bus car run jump sing walk
"""
FONTS = (
    "DejaVuSans-Bold",
    "DejaVuSerif-Bold",
    "DejaVuSansMono-Bold",
    "DejaVuSans",
    "DejaVuSerif-BoldItalic",
    "DejaVuSans-BoldOblique",
)
STEEL: Colour = (165, 170, 180)
IRON: Colour = (95, 98, 108)


def draw_word(rng: np.random.Generator) -> Sketch:
    """A short word in one of six fonts: coloured letters with a rim, or a sign."""
    word, font = pick(rng, WORDS.split()), pick(rng, FONTS)
    written = word.upper() if rng.random() < 0.5 else word
    name, colour = pick_colour(rng, PALETTE)
    shorts = ("a word", "written text", f"{name} letters", f"the word {word}")
    pen = Pen()
    if rng.random() < 0.45:
        grounds = [other for other in COLOURS if abs(luminance(COLOURS[other]) - luminance(colour)) > 85]
        ground_name = pick(rng, grounds)
        ground = COLOURS[ground_name]
        probe_x, probe_y = Pen().lettering(written, font, 0, 0, 0.6, colour)
        pen.rectangle(-probe_x - 0.2, -probe_y - 0.22, probe_x + 0.2, probe_y + 0.22, shade(ground, 0.6))
        pen.rectangle(-probe_x - 0.14, -probe_y - 0.16, probe_x + 0.14, probe_y + 0.16, ground)
        pen.lettering(written, font, 0, 0, 0.6, colour)
        phrase = f"{with_article(ground_name)} sign with the word {word} in {name} letters"
        return pen.finish(phrase, pick(rng, shorts), kind="sign", word=word, colour=name, ground=ground_name)
    rim = COLOURS["white"] if luminance(colour) < 140 else (20, 20, 20)
    pen.lettering(written, font, 0, 0, 0.6, colour, outline=rim)
    return pen.finish(f"the word {word} in {name} letters", pick(rng, shorts), kind="letters", word=word, colour=name)


def draw_tool(rng: np.random.Generator) -> Sketch:
    """A hammer, wrench, screwdriver, saw, pair of scissors, or paintbrush; the colour is its handle's."""
    kind = pick(rng, list(TOOLS))
    name, colour = pick_colour(rng, PALETTE)
    pen = Pen()
    TOOLS[kind](pen, colour)
    noun = "pair of scissors" if kind == "scissors" else kind
    phrase = f"a pair of {name} scissors" if kind == "scissors" else f"{with_article(name)} {kind}"
    return pen.finish(phrase, pick(rng, ("a tool", with_article(noun))), kind=kind, colour=name)


def _draw_hammer(pen: Pen, colour: Colour) -> None:
    pen.rectangle(-0.1, -0.5, 0.1, 0.95, colour)
    pen.rectangle(-0.13, 0.45, 0.13, 1.0, shade(colour, 0.75))
    pen.rectangle(-0.5, -0.85, 0.42, -0.48, IRON)
    pen.rectangle(-0.62, -0.9, -0.45, -0.43, shade(IRON, 0.75))
    pen.polygon([(0.42, -0.85), (0.42, -0.48), (0.8, -0.38)], IRON)


def _draw_wrench(pen: Pen, colour: Colour) -> None:
    pen.stroke([(0, 0.72), (0, -0.45)], 0.26, STEEL)
    # An open jaw at the top: a disc without the wedge between its two fingers.
    pen.polygon([*curve(0, -0.6, 0.4, 0.4, -1.15, math.pi + 1.15, 20), (-0.16, -0.55), (0.16, -0.55)], STEEL)
    ring = curve(0, 0.76, 0.3, 0.3, -math.pi / 2, 1.5 * math.pi, 21)
    hole = curve(0, 0.76, 0.14, 0.14, 1.5 * math.pi, -math.pi / 2, 21)
    pen.polygon(ring + hole, shade(STEEL, 0.9))
    pen.stroke([(0, 0.4), (0, -0.2)], 0.3, colour)  # a coloured grip
    pen.stroke([(0, 0.35), (0, -0.15)], 0.08, shade(colour, 0.7))


def _draw_screwdriver(pen: Pen, colour: Colour) -> None:
    pen.rectangle(-0.07, -0.95, 0.07, 0.1, STEEL)
    pen.polygon([(-0.12, -0.98), (0.12, -0.98), (0.07, -0.74), (-0.07, -0.74)], shade(STEEL, 0.65))
    pen.stroke([(0, 0.24), (0, 0.8)], 0.42, colour)
    pen.rectangle(-0.24, 0.05, 0.24, 0.17, shade(colour, 0.6))
    pen.stroke([(0, 0.3), (0, 0.78)], 0.08, shade(colour, 1.3))


def _draw_saw(pen: Pen, colour: Colour) -> None:
    n_teeth = 10
    teeth = []
    for i in range(n_teeth):  # along the lower edge, from the handle to the tip
        x = -0.3 + 1.3 * i / n_teeth
        y = 0.34 - 0.2 * (i / n_teeth)
        teeth += [(x, y), (x + 0.065, y + 0.13)]
    pen.polygon([(1.0, 0.12), (1.0, -0.1), (-0.3, -0.26), *teeth], (206, 209, 216))
    pen.stroke([(-0.25, -0.2), (0.95, -0.06)], 0.04, (170, 174, 184))
    pen.polygon([(-0.3, -0.36), (-0.85, -0.32), (-1, 0.1), (-0.82, 0.46), (-0.3, 0.42)], colour)
    pen.ellipse(-0.62, 0.06, 0.16, 0.17, shade(colour, 0.4))


def _draw_scissors(pen: Pen, colour: Colour) -> None:
    for side in (-1, 1):
        # Each blade crosses the middle at the screw and ends in a ring on the other side.
        pen.polygon([(-0.1 * side, 0.3), (0.06 * side, 0.14), (0.44 * side, -0.95), (0.14 * side, -0.5)], STEEL)
        pen.stroke([(0, 0.12), (-0.26 * side, 0.5)], 0.15, colour)
        outer = curve(-0.36 * side, 0.7, 0.27, 0.32, -math.pi / 2, 1.5 * math.pi, 19)
        inner = curve(-0.36 * side, 0.7, 0.13, 0.17, 1.5 * math.pi, -math.pi / 2, 19)
        pen.polygon(outer + inner, colour)
    pen.ellipse(0, 0.12, 0.08, 0.08, DARK)


def _draw_paintbrush(pen: Pen, colour: Colour) -> None:
    pen.polygon([(-0.12, -0.1), (0.12, -0.1), (0.09, 0.9), (0, 1.0), (-0.09, 0.9)], (176, 122, 66))
    pen.rectangle(-0.3, -0.36, 0.3, -0.08, STEEL)
    pen.rectangle(-0.3, -0.27, 0.3, -0.21, shade(STEEL, 0.75))
    pen.polygon([(-0.28, -0.36), (0.28, -0.36), (0.3, -0.62), (-0.3, -0.62)], (222, 190, 130))
    pen.polygon([(-0.3, -0.6), (0.3, -0.6), (0.26, -0.92), (0.08, -0.86), (-0.08, -1.0), (-0.26, -0.9)], colour)


TOOLS = {
    "hammer": _draw_hammer,
    "wrench": _draw_wrench,
    "screwdriver": _draw_screwdriver,
    "saw": _draw_saw,
    "scissors": _draw_scissors,
    "paintbrush": _draw_paintbrush,
}


def draw_vehicle(rng: np.random.Generator) -> Sketch:
    """A car (more often), truck, bus, bicycle, plane or boat."""
    kind = pick(rng, ("car", "car", *VEHICLES))
    name, colour = pick_colour(rng, PALETTE)
    pen = Pen()
    VEHICLES[kind](pen, colour, rng)
    phrase = f"{with_article(name)} {kind}"
    return pen.finish(phrase, pick(rng, ("a vehicle", f"a {kind}")), kind=kind, colour=name)


def _draw_wheels(pen: Pen, x: float, y: float, radius: float) -> None:
    for centre in (-x, x):
        pen.ellipse(centre, y, radius, radius, DARK)
        pen.ellipse(centre, y, radius * 0.45, radius * 0.45, (190, 192, 200))


def _draw_car(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    pen.polygon([(-0.62, 0), (-0.38, -0.43), (0.3, -0.43), (0.6, 0)], colour)
    pen.polygon([(-0.46, -0.02), (-0.31, -0.33), (-0.06, -0.33), (-0.06, -0.02)], GLASS)
    pen.polygon([(0.02, -0.02), (0.02, -0.33), (0.25, -0.33), (0.43, -0.02)], GLASS)
    pen.polygon([(-1, 0.05), (-0.9, -0.02), (0.75, -0.04), (0.98, 0.08), (1, 0.38), (-1, 0.38)], colour)
    pen.rectangle(-1, 0.28, 1, 0.38, shade(colour, 0.65))
    pen.ellipse(0.9, 0.14, 0.07, 0.07, (255, 240, 150))
    pen.rectangle(-1, 0.06, -0.92, 0.18, (190, 40, 40))
    _draw_wheels(pen, 0.55, 0.38, 0.22)


def _draw_bus(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    pen.rectangle(-1, -0.55, 1, 0.45, colour)
    pen.rectangle(-1, 0.2, 1, 0.3, shade(colour, 0.7))
    for i in range(5):
        pen.rectangle(-0.88 + 0.345 * i, -0.4, -0.62 + 0.345 * i, -0.02, GLASS)
    pen.rectangle(0.84, -0.4, 1, 0.05, GLASS)
    _draw_wheels(pen, 0.58, 0.48, 0.2)


def _draw_truck(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    load = pick_colour(rng, "white grey brown")[1]
    pen.rectangle(-1, -0.6, 0.32, 0.38, load)
    pen.rectangle(-1, -0.6, 0.32, -0.52, shade(load, 0.8))
    pen.rectangle(-1, 0.28, 1, 0.4, (60, 60, 66))
    pen.polygon([(0.38, -0.35), (0.75, -0.35), (1, 0.02), (1, 0.38), (0.38, 0.38)], colour)
    pen.polygon([(0.48, -0.25), (0.7, -0.25), (0.87, 0.03), (0.48, 0.03)], GLASS)
    _draw_wheels(pen, 0.62, 0.42, 0.21)


def _draw_bicycle(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    for x in (-0.6, 0.6):
        pen.stroke(curve(x, 0.3, 0.36, 0.36, 0, 2 * math.pi, 21), 0.075, DARK)
        pen.ellipse(x, 0.3, 0.06, 0.06, IRON)
    for bar in (
        [(-0.6, 0.3), (-0.28, -0.22), (0.4, -0.22)],
        [(-0.6, 0.3), (-0.05, 0.3), (0.4, -0.22), (0.36, -0.42)],
        [(-0.05, 0.3), (-0.32, -0.35)],
        [(0.6, 0.3), (0.4, -0.22)],
    ):
        pen.stroke(bar, 0.085, colour)
    pen.stroke([(-0.45, -0.4), (-0.2, -0.4)], 0.1, DARK)
    pen.stroke([(0.36, -0.42), (0.56, -0.46)], 0.08, DARK)
    pen.ellipse(-0.05, 0.3, 0.09, 0.09, IRON)


def _draw_plane(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    pen.polygon([(-0.1, -0.12), (0.22, -0.12), (-0.12, -0.5), (-0.28, -0.5)], shade(colour, 0.6))
    pen.polygon([(-0.95, -0.55), (-0.75, -0.55), (-0.45, -0.1), (-0.9, -0.05)], shade(colour, 0.75))
    body = curve(0.68, 0.02, 0.32, 0.18, -math.pi / 2, math.pi / 2, 10)
    pen.polygon([*body, (-0.3, 0.2), (-1, -0.08), (-0.95, -0.18), (-0.3, -0.16)], colour)
    for i in range(5):
        pen.ellipse(-0.35 + 0.2 * i, -0.03, 0.05, 0.05, GLASS)
    pen.polygon([(0.7, -0.15), (0.82, -0.13), (0.93, -0.02), (0.7, -0.02)], GLASS)
    pen.polygon([(-0.12, 0.08), (0.28, 0.08), (-0.22, 0.55), (-0.42, 0.55)], shade(colour, 0.7))


def _draw_boat(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    pen.polygon([(-0.85, 0.35), (0.9, 0.35), (0.6, 0.8), (-0.6, 0.8)], colour)
    pen.rectangle(-0.83, 0.35, 0.88, 0.44, shade(colour, 0.65))
    pen.rectangle(-0.04, -1, 0.04, 0.36, (110, 75, 45))
    pen.polygon([(0.09, -0.95), (0.09, 0.24), (0.75, 0.24)], (248, 246, 238))
    pen.polygon([(-0.09, -0.75), (-0.09, 0.24), (-0.6, 0.24)], (226, 224, 214))


VEHICLES = {
    "car": _draw_car,
    "truck": _draw_truck,
    "bus": _draw_bus,
    "bicycle": _draw_bicycle,
    "plane": _draw_plane,
    "boat": _draw_boat,
}
