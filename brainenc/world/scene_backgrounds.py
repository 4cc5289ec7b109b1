"""Backdrops that say nothing about place: plain, gradient, or a soft 1/f texture under a random contrast envelope.

A texture is ``colour + contrast(x, y) * noise(x, y)``, where the amplitude of ``noise`` falls as ``1 / f``
(the statistics of natural images: Field 1987, doi:10.1364/JOSAA.4.002379) and ``contrast`` is a Gaussian of random
centre and width. So local contrast energy varies over the image, as early visual areas need it, while no category
is shown.

Backdrops are computed on a fixed grid and then scaled, so one seed gives the same backdrop at every size.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from PIL import Image

from brainenc.world.scene_colours import COLOURS, WHITE, Colour, mix, pick, shade, with_article

GRID = 64  # pixels of the grid on which textures are computed
KINDS = ("plain", "gradient", "texture", "texture")
TINTS = ("white", "grey", "blue", "green", "yellow", "pink", "orange", "purple", "brown", "black")


def draw_backdrop(rng: np.random.Generator, side: int) -> tuple[Image.Image, str, str]:
    """A neutral backdrop.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all choices.
    side : int
        Width and height in pixels.

    Returns
    -------
    canvas : PIL.Image.Image
        RGB, ``side`` x ``side``.
    kind : str
        ``plain``, ``gradient`` or ``texture``.
    phrase : str
        Its words, such as ``"a blue background"``.
    """
    kind, tint, phrase = name_backdrop(rng)
    colour = mix(COLOURS[tint], WHITE, 0.1 if tint == "black" else 0.4)
    if kind == "plain":
        return Image.new("RGB", (side, side), colour), kind, phrase
    if kind == "gradient":
        return _scaled(_gradient(rng, colour), side), kind, phrase
    return _scaled(_texture(rng, mix(colour, (128, 128, 128), 0.3)), side), kind, phrase


def name_backdrop(rng: np.random.Generator) -> tuple[str, str, str]:
    """Kind, tint and words of the backdrop that ``draw_backdrop`` draws from the same generator."""
    kind, tint = pick(rng, KINDS), pick(rng, TINTS)
    return kind, tint, f"{with_article(tint)} {'background' if kind == 'plain' else kind}"


def _scaled(values: np.ndarray, side: int) -> Image.Image:
    """Round a (n, n, 3) float array to bytes and scale it to ``side`` pixels."""
    image = Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))
    return image.resize((side, side), Image.Resampling.BILINEAR)


def _gradient(rng: np.random.Generator, colour: Colour) -> np.ndarray:
    """A linear change from a lighter to a darker shade in a random direction, (32, 32, 3)."""
    x, y = np.meshgrid(np.linspace(-1, 1, 32), np.linspace(-1, 1, 32))
    angle = 2 * math.pi * rng.random()
    share = 0.5 + 0.5 * (math.cos(angle) * x + math.sin(angle) * y) / (abs(math.cos(angle)) + abs(math.sin(angle)))
    light, dark = np.array(mix(colour, WHITE, 0.35)), np.array(shade(colour, 0.65))
    values: np.ndarray = light + share[..., None] * (dark - light)
    return values


def _texture(rng: np.random.Generator, colour: Colour) -> np.ndarray:
    """1/f noise under a Gaussian contrast envelope around a colour, (GRID, GRID, 3)."""
    white_noise = rng.standard_normal((GRID, GRID), dtype=np.float32)
    noise = np.fft.irfft2(np.fft.rfft2(white_noise) * _inverse_frequency(), s=(GRID, GRID))
    noise /= noise.std()
    centre_x, centre_y = rng.uniform(0, GRID, 2)
    width = GRID * rng.uniform(0.2, 0.7)
    strength = rng.uniform(8, 36)  # standard deviation of the noise at the centre of the envelope, grey levels
    line = np.arange(GRID, dtype=np.float32)
    across = np.exp(-((line - centre_x) ** 2) / (2 * width**2))
    down = np.exp(-((line - centre_y) ** 2) / (2 * width**2))
    luminance = noise * (strength * (0.15 + 0.85 * down[:, None] * across))
    chroma = rng.uniform(0.75, 1.25, 3)  # lets the texture lean towards a hue
    values: np.ndarray = np.array(colour, np.float32) + luminance[..., None] * chroma.astype(np.float32)
    return values


@lru_cache(maxsize=1)
def _inverse_frequency() -> np.ndarray:
    """Amplitude 1/f on the half plane of ``rfft2``, without the mean and without the finest grain."""
    frequency = np.hypot(np.fft.fftfreq(GRID)[:, None], np.fft.rfftfreq(GRID)[None, :])
    with np.errstate(divide="ignore"):
        amplitude = np.where(frequency > 0, 1 / frequency, 0.0)
    filtered: np.ndarray = (amplitude * np.exp(-((frequency / 0.4) ** 2))).astype(np.float32)
    return filtered
