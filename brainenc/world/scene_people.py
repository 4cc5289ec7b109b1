"""Faces and bodies: pure functions ``rng -> Sketch`` in local coordinates (see :mod:`brainenc.world.scene_pen`)."""

from __future__ import annotations

import math

import numpy as np

from brainenc.world.scene_colours import (
    COLOURS,
    DARK,
    HAIR,
    PALETTE,
    SKIN,
    WHITE,
    Colour,
    pick,
    pick_colour,
    shade,
    with_article,
)
from brainenc.world.scene_pen import Pen, Point, Sketch, curve

EXPRESSIONS = ("smiling", "sad", "surprised", "angry", "calm")
EYES: tuple[Colour, ...] = ((70, 45, 25), (60, 110, 170), (60, 120, 70), (25, 20, 20))
# Height of the inner and the outer end of an eyebrow.
BROWS = {"angry": (-0.11, -0.3), "sad": (-0.33, -0.16), "surprised": (-0.36, -0.36)}
# Shoulder, elbow, hand of both arms; hip, knee, foot of both legs.
Limbs = tuple[list[Point], list[Point], list[Point], list[Point]]
POSES: dict[str, Limbs] = {
    "standing": (
        [(-0.20, -0.38), (-0.30, -0.05), (-0.28, 0.20)],
        [(0.20, -0.38), (0.30, -0.05), (0.28, 0.20)],
        [(-0.10, 0.20), (-0.13, 0.60), (-0.14, 0.98)],
        [(0.10, 0.20), (0.13, 0.60), (0.14, 0.98)],
    ),
    "running": (
        [(-0.20, -0.36), (-0.42, -0.12), (-0.22, 0.05)],
        [(0.20, -0.36), (0.42, -0.18), (0.55, -0.42)],
        [(-0.08, 0.20), (-0.30, 0.55), (-0.66, 0.62)],
        [(0.08, 0.20), (0.38, 0.42), (0.30, 0.90)],
    ),
    "waving": (
        [(-0.20, -0.38), (-0.30, -0.05), (-0.28, 0.20)],
        [(0.20, -0.38), (0.48, -0.52), (0.50, -0.90)],
        [(-0.10, 0.20), (-0.13, 0.60), (-0.14, 0.98)],
        [(0.10, 0.20), (0.13, 0.60), (0.14, 0.98)],
    ),
    "jumping": (
        [(-0.20, -0.38), (-0.50, -0.58), (-0.60, -0.90)],
        [(0.20, -0.38), (0.50, -0.58), (0.60, -0.90)],
        [(-0.10, 0.20), (-0.38, 0.50), (-0.46, 0.85)],
        [(0.10, 0.20), (0.38, 0.50), (0.46, 0.85)],
    ),
    "dancing": (
        [(-0.20, -0.38), (-0.55, -0.40), (-0.72, -0.70)],
        [(0.20, -0.38), (0.50, -0.20), (0.28, 0.02)],
        [(-0.10, 0.20), (-0.15, 0.60), (-0.12, 0.98)],
        [(0.10, 0.20), (0.48, 0.40), (0.40, 0.80)],
    ),
}


def draw_face(rng: np.random.Generator) -> Sketch:
    """Head and shoulders: woman or man, five expressions, skin, hair, and perhaps glasses or a beard."""
    is_woman = rng.random() < 0.5
    expression, skin, hair_name = pick(rng, EXPRESSIONS), pick(rng, SKIN), pick(rng, list(HAIR))
    has_long_hair = rng.random() < (0.75 if is_woman else 0.05)
    is_bald = not is_woman and not has_long_hair and rng.random() < 0.2
    has_glasses = rng.random() < 0.2
    has_beard = not is_woman and rng.random() < 0.3
    hair = HAIR[hair_name]

    pen = Pen()
    if has_long_hair:
        pen.ellipse(0, -0.1, 0.76, 0.82, hair)
        pen.polygon([(-0.76, -0.1), (0.76, -0.1), (0.72, 0.8), (-0.72, 0.8)], hair)
    shirt_name, shirt = pick_colour(rng, PALETTE)
    _draw_shoulders(pen, shirt, skin)
    if not is_bald and not has_long_hair:
        pen.ellipse(0, -0.2, 0.66, 0.74, hair)
    for x in (-0.6, 0.6):
        pen.ellipse(x, 0.02, 0.1, 0.16, shade(skin, 0.8))
    pen.ellipse(0, 0, 0.58, 0.74, skin)
    if not is_bald:
        _draw_fringe(pen, hair, 0.08 * rng.random())
    if has_beard:
        _draw_beard(pen, hair)
    _draw_eyes(pen, expression, pick(rng, EYES), (60, 45, 35) if is_bald else shade(hair, 0.8))
    if has_glasses:
        _draw_glasses(pen)
    pen.polygon([(0, 0.02), (0.1, 0.25), (-0.1, 0.25)], shade(skin, 0.8))
    _draw_mouth(pen, expression, (190, 40, 55) if is_woman else (165, 75, 70))

    who = "woman" if is_woman else "man"
    if is_bald:
        phrase = f"{with_article(expression)} bald man" + (f" with a {hair_name} beard" if has_beard else "")
    elif has_beard:
        phrase = f"{with_article(expression)} man with {hair_name} hair and a beard"
    else:
        phrase = f"{with_article(expression)} {who} with {hair_name} hair"
    if has_glasses and not has_beard:
        phrase += " with glasses" if is_bald else " and glasses"
    short = pick(rng, (f"the face of a {who}", f"{with_article(expression)} face", "a face", f"a portrait of a {who}"))
    style = "bald" if is_bald else ("long " if has_long_hair else "short ") + hair_name
    extras = {"glasses": "yes" if has_glasses else "no", "beard": "yes" if has_beard else "no", "shirt": shirt_name}
    return pen.finish(phrase, short, kind="face", who=who, expression=expression, hair=style, **extras)


def _draw_shoulders(pen: Pen, shirt: Colour, skin: Colour) -> None:
    pen.polygon([(-0.85, 1.12), (-0.6, 0.86), (-0.2, 0.76), (0.2, 0.76), (0.6, 0.86), (0.85, 1.12)], shirt)
    pen.rectangle(-0.2, 0.55, 0.2, 0.84, shade(skin, 0.8))


def _draw_fringe(pen: Pen, hair: Colour, dip: float) -> None:
    outer = [(-0.585, -0.12), (-0.56, -0.5), (-0.3, -0.82), (0.1, -0.86), (0.4, -0.75), (0.58, -0.45), (0.585, -0.12)]
    inner = [(0.5, -0.34), (0.3, -0.46 + dip), (0, -0.5), (-0.3, -0.42), (-0.5, -0.3)]
    pen.polygon(outer + inner, hair)


def _draw_beard(pen: Pen, hair: Colour) -> None:
    upper = [(-0.55, 0.1), (-0.42, 0.26), (-0.2, 0.28), (0.2, 0.28), (0.42, 0.26), (0.55, 0.1)]
    lower = [(0.5, 0.45), (0.28, 0.72), (0, 0.8), (-0.28, 0.72), (-0.5, 0.45)]
    pen.polygon(upper + lower, hair)


def _draw_eyes(pen: Pen, expression: str, iris: Colour, brow: Colour) -> None:
    height = {"surprised": 0.16, "smiling": 0.1, "angry": 0.075}.get(expression, 0.09)
    inner, outer = BROWS.get(expression, (-0.22, -0.21))
    for side in (-1, 1):
        pen.ellipse(0.24 * side, -0.05, 0.13, height, WHITE)
        pen.ellipse(0.24 * side, -0.05, 0.068, 0.075, iris)
        pen.stroke([(0.1 * side, inner), (0.39 * side, outer)], 0.09 if expression == "angry" else 0.07, brow)


def _draw_glasses(pen: Pen) -> None:
    for x in (-0.24, 0.24):
        pen.stroke(curve(x, -0.05, 0.19, 0.16, 0, 2 * math.pi, 15), 0.045, DARK)
    pen.stroke([(-0.06, -0.05), (0.06, -0.05)], 0.045, DARK)


def _draw_mouth(pen: Pen, expression: str, lips: Colour) -> None:
    if expression == "smiling":
        pen.sector(0, 0.34, 0.36, 0.27, 0, math.pi, lips)
        pen.polygon([(-0.28, 0.35), (0.28, 0.35), (0.22, 0.46), (-0.22, 0.46)], WHITE)
    elif expression == "sad":
        pen.arc(0, 0.62, 0.27, 0.22, math.pi * 1.05, math.pi * 1.95, 0.1, lips)
    elif expression == "surprised":
        pen.ellipse(0, 0.48, 0.17, 0.2, lips)
        pen.ellipse(0, 0.48, 0.11, 0.14, (70, 15, 20))
    elif expression == "angry":
        pen.rectangle(-0.28, 0.37, 0.28, 0.55, lips)
        pen.rectangle(-0.23, 0.42, 0.23, 0.5, WHITE)  # bared teeth
        for x in (-0.12, 0.0, 0.12):
            pen.rectangle(x - 0.015, 0.42, x + 0.015, 0.5, lips)
    else:
        pen.stroke([(-0.16, 0.46), (0.16, 0.46)], 0.07, lips)


def draw_body(rng: np.random.Generator) -> Sketch:
    """A whole person (half of the time) or a hand, a leg, an arm."""
    draw = pick(rng, (_draw_person, _draw_person, _draw_person, _draw_hand, _draw_leg, _draw_arm))
    return draw(rng)


def _draw_person(rng: np.random.Generator) -> Sketch:
    skin, hair, action = pick(rng, SKIN), pick(rng, list(HAIR.values())), pick(rng, list(POSES))
    name, shirt = pick_colour(rng, PALETTE)
    trousers_name, trousers = pick_colour(rng, " ".join(other for other in COLOURS if other != name))
    is_woman = rng.random() < 0.5
    *arms, left_leg, right_leg = POSES[action]

    pen = Pen()
    if is_woman:
        pen.ellipse(0, -0.64, 0.22, 0.26, hair)
        pen.rectangle(-0.21, -0.64, 0.21, -0.4, hair)
    for leg in (left_leg, right_leg):
        foot_x, foot_y = leg[-1]
        pen.stroke(leg, 0.2, trousers)
        pen.ellipse(foot_x + 0.05, foot_y + 0.02, 0.15, 0.08, (40, 30, 30))
    for arm in arms:
        pen.stroke(arm[:2], 0.17, shade(shirt, 0.9))
        pen.stroke(arm[1:], 0.13, skin)
        pen.ellipse(*arm[-1], 0.085, 0.085, skin)
    pen.polygon([(-0.27, -0.45), (0.27, -0.45), (0.22, 0.24), (-0.22, 0.24)], shirt)
    pen.ellipse(0, -0.43, 0.26, 0.1, shirt)
    pen.rectangle(-0.07, -0.56, 0.07, -0.42, shade(skin, 0.85))
    pen.ellipse(0, -0.7, 0.17, 0.21, skin)
    pen.sector(0, -0.72, 0.175, 0.22, math.pi, 2 * math.pi, hair)

    who = "woman" if is_woman else "man"
    short = pick(rng, ("a person", "the body of a person", f"{with_article(who)} {action}"))
    phrase = f"{with_article(action)} {who} in {with_article(name)} shirt"
    return pen.finish(phrase, short, kind="person", who=who, action=action, colour=name, trousers=trousers_name)


def _draw_hand(rng: np.random.Generator) -> Sketch:
    skin = pick(rng, SKIN)
    name, sleeve = pick_colour(rng, PALETTE)
    shadow = shade(skin, 0.82)
    pen = Pen()
    pen.rectangle(-0.28, 0.45, 0.28, 0.9, shadow)
    pen.rectangle(-0.38, 0.8, 0.38, 1.2, sleeve)
    pen.rectangle(-0.4, 0.78, 0.4, 0.88, shade(sleeve, 0.75))
    pen.ellipse(0, 0.25, 0.45, 0.48, skin)
    for x, length in ((-0.34, 0.62), (-0.12, 0.85), (0.12, 0.9), (0.34, 0.7)):
        pen.stroke([(x, 0.1), (x * 1.25, 0.12 - length)], 0.2, skin)
    pen.stroke([(0.35, 0.4), (0.78, 0.02)], 0.22, skin)
    for x in (-0.23, 0, 0.23):
        pen.stroke([(x, -0.02), (x * 1.1, -0.25)], 0.03, shadow)
    return pen.finish(f"a hand with {with_article(name)} sleeve", "a hand", kind="hand", colour=name)


def _draw_leg(rng: np.random.Generator) -> Sketch:
    skin = pick(rng, SKIN)
    name, shoe = pick_colour(rng, PALETTE)
    shorts = pick_colour(rng, " ".join(other for other in COLOURS if other != name))[1]
    pen = Pen()
    thigh = [(-0.42, -0.9), (0.14, -0.9), (0.26, -0.2), (0.2, 0.05), (-0.16, 0.05), (-0.3, -0.3)]
    calf = [(-0.16, 0.0), (0.2, 0.0), (0.16, 0.35), (0.06, 0.72), (-0.2, 0.72), (-0.26, 0.3)]
    pen.polygon(thigh, skin)
    pen.polygon(calf, skin)
    pen.ellipse(0.04, 0.0, 0.2, 0.17, skin)
    pen.arc(0.06, -0.03, 0.13, 0.1, 0.2, 2.4, 0.035, shade(skin, 0.8))
    pen.polygon([(-0.48, -1.0), (0.18, -1.0), (0.26, -0.5), (-0.42, -0.44)], shorts)
    pen.rectangle(-0.21, 0.56, 0.08, 0.72, WHITE)
    pen.polygon([(-0.28, 0.66), (0.13, 0.64), (0.32, 0.78), (0.66, 0.84), (0.74, 1.0), (-0.28, 1.0)], shoe)
    pen.rectangle(-0.29, 0.95, 0.75, 1.04, shade(shoe, 0.55))
    return pen.finish(f"a leg with {with_article(name)} shoe", "a leg", kind="leg", colour=name)


def _draw_arm(rng: np.random.Generator) -> Sketch:
    skin = pick(rng, SKIN)
    name, sleeve = pick_colour(rng, PALETTE)
    pen = Pen()
    pen.stroke([(-0.2, 0.5), (0.35, 0.27), (0.44, -0.3)], 0.27, skin)
    pen.polygon([(-1.0, 0.5), (-0.2, 0.22), (0.0, 0.66), (-0.82, 1.02)], sleeve)
    pen.stroke([(-0.16, 0.26), (0.0, 0.62)], 0.09, shade(sleeve, 0.75))
    pen.ellipse(0.46, -0.46, 0.21, 0.23, skin)
    for x, tip in ((-0.15, -0.8), (-0.05, -0.92), (0.06, -0.93), (0.16, -0.84)):
        pen.stroke([(0.46 + x, -0.5), (0.46 + x * 1.4, tip)], 0.1, skin)
    pen.stroke([(0.58, -0.38), (0.82, -0.58)], 0.11, skin)
    return pen.finish(f"an arm with {with_article(name)} sleeve", "an arm", kind="arm", colour=name)
