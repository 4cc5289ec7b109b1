"""The light that falls on a whole scene: how bright, of which tint, from where, and what the camera adds.

With x, y in -1..1 over the image, r^2 = (x^2 + y^2) / 2, and a direction d of the light::

    seen(x, y) = drawn(x, y) * gain * tint * (1 + slope (x, y).d) * (1 - vignette r^2) + grain * noise(x, y)

Things throw a soft shadow away from the light. Light is drawn independently of what is shown, so it tells nothing about
it. The noise lives on a fixed grid, so one seed gives the same picture at every size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

GRID = 64  # pixels of the grid on which the grain is drawn
SHADOW: tuple[int, int, int] = (12, 12, 18)


@dataclass(frozen=True)
class Light:
    """Light of a scene.

    Parameters
    ----------
    gain : float
        Brightness, 1 as drawn.
    tint : (float, float, float)
        Factors of red, green and blue, about 1.
    direction : float
        Where the light comes from, radians; 0 right, pi/2 from below.
    slope : float
        Share of brightness gained from the middle to the lit edge.
    vignette : float
        Share of brightness lost in the corners.
    grain : float
        Standard deviation of the noise, grey levels; ``grain_seed`` decides it.
    shadow, reach : float
        Darkness of cast shadows, 0..1, and their offset in units of the image side.
    """

    gain: float
    tint: tuple[float, float, float]
    direction: float
    slope: float
    vignette: float
    grain: float
    grain_seed: int
    shadow: float
    reach: float


def draw_light(rng: np.random.Generator) -> Light:
    """Draw the light of a scene."""
    gain, direction, slope, vignette, grain, shadow, reach, warm, green = rng.random(9).tolist()
    return Light(
        gain=0.78 + 0.36 * gain,
        tint=(1 + 0.14 * (warm - 0.5), 1 + 0.08 * (green - 0.5), 1 - 0.14 * (warm - 0.5)),
        direction=2 * math.pi * direction,
        slope=0.2 * slope,
        vignette=0.3 * vignette,
        grain=8 * grain**2,
        grain_seed=int(rng.integers(2**31)),
        shadow=0.5 * shadow,
        reach=0.012 + 0.03 * reach,
    )


def light_up(image: np.ndarray, light: Light) -> np.ndarray:
    """A drawing (size, size, 3) uint8 in this light, same shape and type."""
    size = len(image)
    line, radius = _coordinates(size)
    along = light.slope * math.cos(light.direction) * line + light.slope * math.sin(light.direction) * line[:, None]
    field = (light.gain * (1 + along)) * (1 - light.vignette * radius)
    seen = image * np.array(light.tint, np.float32)
    seen *= field[..., None]
    if light.grain > 0:
        seen += _grain(light.grain_seed, light.grain, size)[..., None]
    seen += 0.5
    np.clip(seen, 0, 255, out=seen)
    return seen.astype(np.uint8)


def cast_shadow(canvas: Image.Image, silhouette: Image.Image, light: Light) -> None:
    """Darken ``canvas``, which changes, where a thing with this ``silhouette`` ("L", any size) keeps the light out."""
    blurred = silhouette.filter(ImageFilter.BoxBlur(silhouette.width / 40))
    mask = blurred.resize(canvas.size, Image.Resampling.BILINEAR).point(_dimmed(round(light.shadow * 255)))
    reach = light.reach * canvas.width
    offset = (round(-reach * math.cos(light.direction)), round(-reach * math.sin(light.direction)))
    canvas.paste(SHADOW, offset, mask)


@lru_cache(maxsize=256)
def _dimmed(strength: int) -> list[int]:
    return [value * strength // 255 for value in range(256)]


@lru_cache(maxsize=8)
def _coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres in -1..1 (size,), and r^2 (size, size), 1 in the corners."""
    line = ((np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1).astype(np.float32)
    return line, (line**2 + line[:, None] ** 2) / 2


def _grain(seed: int, strength: float, size: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((GRID, GRID), dtype=np.float32) * np.float32(strength)
    if size == GRID:
        return noise
    image = Image.fromarray(noise)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
