"""Named colours of the scenes and the few operations on them.

A colour is ``(red, green, blue)``, integers 0..255. Names in ``COLOURS`` may appear in captions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Colour = tuple[int, int, int]
Choice = TypeVar("Choice")

COLOURS: dict[str, Colour] = {
    "red": (205, 40, 40),
    "blue": (45, 90, 200),
    "green": (50, 150, 70),
    "yellow": (240, 205, 50),
    "orange": (240, 140, 35),
    "purple": (130, 65, 165),
    "white": (245, 245, 240),
    "black": (30, 30, 34),
    "grey": (130, 132, 138),
    "pink": (240, 150, 180),
    "brown": (125, 80, 45),
}
PALETTE = " ".join(COLOURS)  # clothes, tools, vehicles, letters, signs and plates all draw from it, alike
HAIR: dict[str, Colour] = {
    "black": (28, 24, 24),
    "brown": (96, 58, 30),
    "blond": (226, 188, 96),
    "red": (176, 76, 30),
    "grey": (165, 165, 168),
}
SKIN: tuple[Colour, ...] = (
    (255, 224, 196),
    (241, 194, 150),
    (224, 172, 125),
    (190, 130, 88),
    (141, 88, 54),
    (92, 56, 36),
)
WHITE: Colour = (250, 250, 250)
DARK: Colour = (30, 30, 34)
GLASS: Colour = (170, 210, 235)
WOOD: Colour = (120, 78, 44)


def shade(colour: Colour, factor: float) -> Colour:
    """Make a colour darker (``factor < 1``) or lighter (``factor > 1``), clipped to 0..255."""
    red, green, blue = (min(255, max(0, int(value * factor))) for value in colour)
    return red, green, blue


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Mix two colours: ``share`` 0 gives the first, 1 the second."""
    red, green, blue = (int(a * (1 - share) + b * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def luminance(colour: Colour) -> float:
    """Rec. 601 luma of a colour, 0..255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def pick(rng: np.random.Generator, choices: Sequence[Choice]) -> Choice:
    """One element of a sequence, all equally likely."""
    return choices[int(rng.random() * len(choices))]


def pick_colour(rng: np.random.Generator, names: str) -> tuple[str, Colour]:
    """One of the space-separated colour names, with its colour."""
    name = pick(rng, names.split())
    return name, COLOURS[name]


def vary(rng: np.random.Generator, colour: Colour, by: int = 14) -> Colour:
    """A colour near ``colour``: each channel moves by at most ``by``."""
    red, green, blue = (min(255, max(0, int(value + by * (2 * rng.random() - 1)))) for value in colour)
    return red, green, blue


def with_article(noun: str) -> str:
    """``"apple" -> "an apple"``, ``"red car" -> "a red car"``."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
