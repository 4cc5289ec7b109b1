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
TILE = 512  # side of the noise of which a scene's grain is cut
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
    """Darken ``canvas``, which changes, where a thing keeps the light out.

    ``silhouette`` ("L") is what the thing covers, its value the darkness of the shadow, 0..255; the canvas is a whole
    number of times as wide.
    """
    found = silhouette.getbbox()
    if found is None:
        return
    softness, factor = silhouette.width / 40, canvas.width // silhouette.width
    margin = math.ceil(softness) + 1
    left, top, right, bottom = found[0] - margin, found[1] - margin, found[2] + margin, found[3] + margin
    blurred = silhouette.crop((left, top, right, bottom)).filter(ImageFilter.BoxBlur(softness))
    mask = blurred.resize((factor * (right - left), factor * (bottom - top)), Image.Resampling.BILINEAR)
    reach = light.reach * canvas.width
    across, down = round(-reach * math.cos(light.direction)), round(-reach * math.sin(light.direction))
    canvas.paste(SHADOW, (factor * left + across, factor * top + down), mask)


@lru_cache(maxsize=8)
def _coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres in -1..1 (size,), and r^2 (size, size), 1 in the corners."""
    line = ((np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1).astype(np.float32)
    return line, (line**2 + line[:, None] ** 2) / 2


@lru_cache(maxsize=1)
def _noise_tile() -> np.ndarray:
    """White Gaussian noise (TILE, TILE) of which every scene shows a part; always the same."""
    return np.random.default_rng(0).standard_normal((TILE, TILE), dtype=np.float32)


def _grain(seed: int, strength: float, size: int) -> np.ndarray:
    row, column = seed % (TILE - GRID), seed // TILE % (TILE - GRID)
    noise = _noise_tile()[row : row + GRID, column : column + GRID] * np.float32(strength if seed % 2 else -strength)
    if size == GRID:
        return noise
    image = Image.fromarray(noise)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
