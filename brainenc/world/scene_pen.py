"""A sketch is a display list of filled polygons and letterings: drawn once, placed and painted anywhere, at any size.

Every thing of a scene is a pure function ``draw(rng) -> Sketch``. It draws with a :class:`Pen` in local
coordinates, about [-1, 1] in x and y, y downwards. ``Sketch.placed`` maps it into the unit square of an image by

    image = centre + extent / longest_side(R x) * (R x - middle(R x)),   R = rotation (after an optional mirroring)

so that its bounding box has exactly the centre and the longer side that were asked for. ``paint`` scales the unit
square to pixels. Because only the last step knows about pixels, a sketch has the same layout at every image size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from brainenc.core.types import DataError
from brainenc.world.scene_colours import Colour, mix

Point = tuple[float, float]
Box = tuple[float, float, float, float]
GLYPH_PIXELS = 64  # height at which letters are drawn before they are scaled into the image
OUTLINE = 0.07  # outline of letters, in units of the font size


def _circle(n_corners: int) -> tuple[Point, ...]:
    angles = (2 * math.pi * i / n_corners for i in range(n_corners))
    return tuple((math.cos(angle), math.sin(angle)) for angle in angles)


CIRCLE = _circle(26)
JOINT = _circle(12)


class Lettering(NamedTuple):
    """A string in a font; ``outline`` is the colour of its rim, None for no rim."""

    text: str
    font: str
    outline: Colour | None


class Mark(NamedTuple):
    """One step of a display list: a polygon of ``n_points`` corners, or a lettering in the rectangle they span."""

    n_points: int
    colour: Colour
    lettering: Lettering | None = None


@dataclass(frozen=True)
class Sketch:
    """A drawing that knows its words.

    Parameters
    ----------
    points : ndarray (n_points, 2)
        Corners of all marks, one after the other.
    marks : tuple of Mark
        The display list, back to front.
    phrase, short : str
        What is drawn, in a full and in a short noun phrase.
    attributes : dict
        What was chosen at random: kind, colour, expression ...
    """

    points: np.ndarray
    marks: tuple[Mark, ...]
    phrase: str
    short: str
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def bounds(self) -> Box:
        """Smallest rectangle (x0, y0, x1, y1) around all points."""
        return _bounds(self.points)

    def placed(self, centre: Point, extent: float, angle: float = 0.0, mirrored: bool = False) -> Sketch:
        """Turn, mirror and scale the sketch so that its bounding box has this centre and longer side.

        Parameters
        ----------
        centre : (float, float)
            Centre of the bounding box, in units of the image side, y downwards.
        extent : float
            Longer side of the bounding box, in units of the image side.
        angle : float
            Clockwise rotation, radians.
        mirrored : bool
            Flip left and right first. Letters keep reading from left to right only if False.
        """
        cos, sin = math.cos(angle), math.sin(angle)
        sign = -1.0 if mirrored else 1.0
        turned = self.points @ np.array([[sign * cos, sign * sin], [-sin, cos]])
        x0, y0, x1, y1 = _bounds(turned)
        scale = extent / max(x1 - x0, y1 - y0)
        shift = (centre[0] - scale * (x0 + x1) / 2, centre[1] - scale * (y0 + y1) / 2)
        return replace(self, points=turned * scale + shift)

    def framed(self, mirrored: bool = False) -> Sketch:
        """Map local [-1, 1] x [-1, 1] onto the unit square: the place of a backdrop, which fills the image."""
        scale = np.array([-0.5 if mirrored else 0.5, 0.5])
        return replace(self, points=self.points * scale + 0.5)


class Pen:
    """Records marks in local coordinates; ``finish`` turns them into a :class:`Sketch`."""

    def __init__(self) -> None:
        self._numbers: list[float] = []
        self._marks: list[Mark] = []

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill the polygon with these corners."""
        for point in points:
            self._numbers += point
        self._marks.append(Mark(len(points), colour))

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """Fill an upright rectangle."""
        self._numbers += (x0, y0, x1, y0, x1, y1, x0, y1)
        self._marks.append(Mark(4, colour))

    def ellipse(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """Fill an ellipse with half axes ``width`` and ``height``."""
        self.polygon([(x + width * a, y + height * b) for a, b in CIRCLE], colour)

    def sector(
        self, x: float, y: float, width: float, height: float, start: float, stop: float, colour: Colour
    ) -> None:
        """Fill the part of an ellipse between two angles (radians; pi/2 points down), closed by its chord."""
        self.polygon(curve(x, y, width, height, start, stop, 16), colour)

    def stroke(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw a line of this width through the points, with round ends and joints."""
        half = width / 2
        for (x0, y0), (x1, y1) in zip(points[:-1], points[1:], strict=True):
            length = math.hypot(x1 - x0, y1 - y0) or 1.0
            dx, dy = half * (y1 - y0) / length, half * (x0 - x1) / length
            self.polygon([(x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy)], colour)
        for x, y in points:
            self.polygon([(x + half * a, y + half * b) for a, b in JOINT], colour)

    def arc(
        self, x: float, y: float, width: float, height: float, start: float, stop: float, line: float, colour: Colour
    ) -> None:
        """Draw the rim of an ellipse between two angles (radians; pi/2 points down) with a line of width ``line``."""
        self.stroke(curve(x, y, width, height, start, stop, 9), line, colour)

    def gradient(self, y0: float, y1: float, top: Colour, bottom: Colour) -> None:
        """Fill the full width between two heights with a vertical gradient."""
        n_bands = 14
        step = (y1 - y0) / n_bands
        for i in range(n_bands):
            colour = mix(top, bottom, i / (n_bands - 1))
            self.rectangle(-1.1, y0 + i * step, 1.1, y1 if i + 1 == n_bands else y0 + (i + 1.5) * step, colour)

    def lettering(
        self, text: str, font: str, x: float, y: float, height: float, colour: Colour, outline: Colour | None = None
    ) -> tuple[float, float]:
        """Write a text of this height around (x, y); returns half its width and half its height."""
        down = height / 2
        across = down * glyph_aspect(text, font, outline is not None)
        self._numbers += (x - across, y - down, x + across, y - down, x + across, y + down, x - across, y + down)
        self._marks.append(Mark(4, colour, Lettering(text, font, outline)))
        return across, down

    def add(self, sketch: Sketch) -> None:
        """Draw a whole sketch, where it stands."""
        self._numbers += sketch.points.ravel().tolist()
        self._marks += sketch.marks

    def finish(self, phrase: str, short: str, **attributes: str) -> Sketch:
        """Everything drawn so far, with its words."""
        points = np.array(self._numbers, dtype=np.float64).reshape(-1, 2)
        return Sketch(points, tuple(self._marks), phrase, short, attributes)


def _bounds(points: np.ndarray) -> Box:
    x, y = np.ascontiguousarray(points.T)  # a reduction over rows of two numbers would be slow
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def curve(x: float, y: float, width: float, height: float, start: float, stop: float, n_points: int) -> list[Point]:
    """Points on an ellipse between two angles (radians; 0 points right, pi/2 down)."""
    step = (stop - start) / (n_points - 1)
    angles = [start + i * step for i in range(n_points)]
    return [(x + width * math.cos(angle), y + height * math.sin(angle)) for angle in angles]


def paint(canvas: Image.Image, sketch: Sketch) -> None:
    """Paint a sketch, its points in the unit square, onto a square RGB canvas, which changes."""
    draw = ImageDraw.Draw(canvas)
    numbers = (sketch.points * canvas.width - 0.5).ravel().tolist()
    start = 0
    for n_points, colour, lettering in sketch.marks:
        corners = numbers[start : start + 2 * n_points]
        start += 2 * n_points
        if lettering is None:
            draw.polygon(corners, fill=colour)
        else:
            _paint_lettering(canvas, corners, colour, lettering)


def _paint_lettering(canvas: Image.Image, corners: list[float], colour: Colour, lettering: Lettering) -> None:
    layers = [(colour, False)] if lettering.outline is None else [(lettering.outline, True), (colour, False)]
    for fill, draw_rim in layers:
        mask, corner = fit_lettering(corners, lettering, draw_rim)
        canvas.paste(fill, corner, mask)


def fit_lettering(corners: list[float], lettering: Lettering, draw_rim: bool) -> tuple[Image.Image, tuple[int, int]]:
    """Mask ("L") of a lettering in the rectangle of these corners (pixels), and where its upper left corner goes."""
    x0, y0, x1, y1, x2, y2, x3, y3 = corners
    width, height = math.hypot(x1 - x0, y1 - y0), math.hypot(x3 - x0, y3 - y0)
    degrees = -math.degrees(math.atan2(y1 - y0, x1 - x0))
    mask = glyphs(lettering.text, lettering.font, lettering.outline is not None, draw_rim)
    mask = mask.resize((max(1, round(width)), max(1, round(height))), Image.Resampling.BILINEAR)
    if abs(degrees) > 0.1:
        mask = mask.rotate(degrees, Image.Resampling.BILINEAR, expand=True)
    return mask, (round((x0 + x2) / 2 + 0.5 - mask.width / 2), round((y0 + y2) / 2 + 0.5 - mask.height / 2))


@lru_cache(maxsize=64)
def _font(name: str) -> ImageFont.FreeTypeFont:
    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        raise DataError("The scenes write words with matplotlib's fonts, but matplotlib is not installed: install it.")
    path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf"
    if not path.is_file():
        raise DataError(f"Font {path} is missing, a DejaVu font that ships with matplotlib was wanted: reinstall it.")
    return ImageFont.truetype(str(path), GLYPH_PIXELS, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=1024)
def glyphs(text: str, font: str, with_rim: bool, draw_rim: bool) -> Image.Image:
    """Mask ("L") of a text, cropped to its ink; ``with_rim`` leaves room for an outline, ``draw_rim`` fills it."""
    rim = math.ceil(OUTLINE * GLYPH_PIXELS) if with_rim else 0
    letters = _font(font)
    left, top, right, bottom = letters.getbbox(text)
    mask = Image.new("L", (math.ceil(right - left) + 2 * rim, math.ceil(bottom - top) + 2 * rim))
    stroke = rim if draw_rim else 0
    ImageDraw.Draw(mask).text((rim - left, rim - top), text, fill=255, font=letters, stroke_width=stroke)
    return mask


@lru_cache(maxsize=4096)
def glyph_aspect(text: str, font: str, with_rim: bool) -> float:
    """Width over height of a text's mask."""
    mask = glyphs(text, font, with_rim, False)
    return mask.width / mask.height
