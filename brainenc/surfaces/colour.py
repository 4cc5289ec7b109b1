"""Numbers to colours: perceptually uniform scales, reliability as opacity, curvature as grey, named categories.

The signed map and the category palette are computed in OKLab, where equal steps look equal
(B. Ottosson 2020, https://bottosson.github.io/posts/oklab). Rainbow maps are refused by name: they invent edges
(Borland & Taylor 2007, doi:10.1109/MCG.2007.323435).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from brainenc.core.types import DataError

RAINBOWS = ("jet", "rainbow", "gist_rainbow", "hsv", "nipy_spectral", "gist_ncar", "prism", "flag")
SIGNED = "signed"
N_COLOURS = 256


@dataclass(frozen=True)
class ColourScale:
    """A map from [vmin, vmax] to colours.

    Parameters
    ----------
    vmin, vmax : float
        Values beyond take the end colours; the colour bar then has pointed ends.
    cmap : str or matplotlib Colormap
        A matplotlib name (not a rainbow), or ``"signed"``: blue, light grey, red, uniform in OKLab.
    """

    vmin: float
    vmax: float
    cmap: Any = "viridis"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.vmin) and np.isfinite(self.vmax) and self.vmin < self.vmax):
            raise DataError(f"colour scale: vmin {self.vmin} and vmax {self.vmax}, wanted finite numbers, vmin < vmax.")

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        vmin: float | None = None,
        vmax: float | None = None,
        cmap: Any = None,
        symmetric: bool = False,
    ) -> ColourScale:
        """Choose what is not given from the finite ``values``.

        The ends are the 1st and 99th percentile; the lower end is 0 when no more than 1 % of the values are negative;
        ``symmetric`` makes vmin = -vmax and takes the signed map.
        """
        finite = values[np.isfinite(values)]
        low, high = np.percentile(finite, [1, 99]) if len(finite) else (0.0, 1.0)
        if symmetric:
            bound = next((abs(end) for end in (vmax, vmin) if end is not None), max(abs(low), abs(high)))
            bound = float(bound) or 1.0
            return cls(-bound, bound, SIGNED if cmap is None else cmap)
        start = float(vmin) if vmin is not None else min(float(low), 0.0) if low >= 0 else float(low)
        stop = float(vmax) if vmax is not None else float(high)
        if stop <= start and vmax is None:
            stop = start + (abs(start) or 1.0)
        if stop <= start and vmin is None:
            start = stop - (abs(stop) or 1.0)
        return cls(start, stop, "viridis" if cmap is None else cmap)

    @cached_property
    def colormap(self) -> Any:
        """The matplotlib Colormap."""
        return colormap(self.cmap)

    @cached_property
    def table(self) -> np.ndarray:
        """Colours, uint8 (256, 3)."""
        return np.rint(255 * self.colormap(np.linspace(0, 1, N_COLOURS))[:, :3]).astype(np.uint8)

    def colours(self, values: np.ndarray) -> np.ndarray:
        """Colours uint8 (..., 3) of ``values`` (...); NaN gets the lowest colour and must be hidden by its alpha."""
        share = (values - self.vmin) / (self.vmax - self.vmin)
        index = np.clip(np.nan_to_num(share, nan=0.0) * N_COLOURS, 0, N_COLOURS - 1).astype(np.intp)
        return self.table[index]

    def extend(self, values: np.ndarray) -> str:
        """Which ends of the colour bar are pointed, because finite values lie beyond: matplotlib's ``extend``."""
        finite = values[np.isfinite(values)]
        below, above = bool((finite < self.vmin).any()), bool((finite > self.vmax).any())
        return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[
            below, above
        ]


@dataclass(frozen=True)
class ReliabilityScale:
    """Opacity from reliability: 0 at ``low`` and below, 1 at ``high`` and above, linear between; NaN is 0."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise DataError(f"reliability scale: from {self.low} to {self.high}, wanted finite numbers, low < high.")

    @classmethod
    def of(cls, reliability: np.ndarray) -> ReliabilityScale:
        """From 0 to the 95th percentile of the finite values."""
        finite = reliability[np.isfinite(reliability)]
        high = float(np.percentile(finite, 95)) if len(finite) else 1.0
        return cls(0.0, high if high > 0 else 1.0)

    def alpha(self, reliability: np.ndarray) -> np.ndarray:
        """Opacity in [0, 1], float32, same shape."""
        share = (reliability - self.low) / (self.high - self.low)
        return np.clip(np.nan_to_num(share, nan=0.0), 0, 1).astype(np.float32)


def colormap(cmap: Any) -> Any:
    """Resolve a name or Colormap; `DataError` for rainbows and unknown names."""
    import matplotlib
    from matplotlib.colors import Colormap, ListedColormap

    if isinstance(cmap, Colormap):
        return cmap
    if cmap == SIGNED:
        return ListedColormap(_signed_table(), name=SIGNED)
    if str(cmap).removesuffix("_r") in RAINBOWS:
        raise DataError(
            f"colour map {cmap!r} is a rainbow and invents edges, wanted a perceptually uniform one such as 'viridis', "
            "'inferno', 'cividis' or 'signed'."
        )
    if cmap not in matplotlib.colormaps:
        raise DataError(f"colour map {cmap!r} is unknown, wanted a matplotlib name such as 'viridis', or 'signed'.")
    return matplotlib.colormaps[cmap]


def oklab_to_srgb(lab: np.ndarray) -> np.ndarray:
    """OKLab (..., 3) to sRGB in [0, 1] (..., 3), clipped to the gamut."""
    to_lms = np.array(
        [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip((lab @ to_lms.T) ** 3 @ to_rgb.T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _signed_table() -> np.ndarray:
    """Blue - light grey - red, lightness and chroma linear in the distance from the middle."""
    x = np.linspace(-1, 1, N_COLOURS)
    lightness = 0.96 - 0.50 * np.abs(x)
    hue = np.where(x < 0, np.deg2rad(255), np.deg2rad(25))
    chroma = 0.16 * np.abs(x)
    return oklab_to_srgb(np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1))


# Okabe & Ito's colours that stand out on grey (https://jfly.uni-koeln.de/color), safe for colour-blind readers.
_NAMED = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#F0E442", "#7B3FA0")


def category_colours(n: int) -> np.ndarray:
    """``n`` distinct colours, uint8 (n, 3): Okabe-Ito's up to 8, then golden-angle hues at three lightnesses."""
    from matplotlib.colors import to_rgb

    if n <= len(_NAMED):
        return np.rint(255 * np.array([to_rgb(colour) for colour in _NAMED[:n]]).reshape(n, 3)).astype(np.uint8)
    k = np.arange(n)
    hue, lightness = np.deg2rad(137.508 * k), np.array([0.72, 0.58, 0.84])[k % 3]
    return np.rint(255 * oklab_to_srgb(np.stack([lightness, 0.13 * np.cos(hue), 0.13 * np.sin(hue)], axis=1))).astype(
        np.uint8
    )


def check_colours(colours: Sequence[Any]) -> np.ndarray:
    """Any matplotlib colours to uint8 (n, 3); `DataError` naming the first that is none."""
    from matplotlib.colors import is_color_like, to_rgb

    bad = [colour for colour in colours if not is_color_like(colour)]
    if bad:
        raise DataError(f"colour {bad[0]!r} is unknown, wanted a name such as 'tomato' or a code such as '#D55E00'.")
    return np.rint(255 * np.array([to_rgb(colour) for colour in colours])).astype(np.uint8)


def grey_underlay(curvature: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Grey, uint8, same shape: light on gyri (negative curvature), dark in sulci, by the spread of ``reference``."""
    spread = np.nanpercentile(np.abs(reference), 80) or 1.0
    return np.rint(255 * (0.68 - 0.16 * np.tanh(2.0 * curvature / spread))).astype(np.uint8)
