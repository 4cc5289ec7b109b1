"""Batches for training a pocket CLIP, each a function of one generator: which scenes, which words, which zoom.

Four kinds are mixed. *Free* batches take any scenes with captions of any style. *Hard* batches take scenes of one
category, so that attributes tell the captions apart. *Crowded* batches take scenes with several things, half of these
batches scenes that share a category: the other thing then decides. *Asking* batches take scenes of one category with
one thing and a sentence that names one attribute alone ("a smiling face"): what is right is then decided by that
attribute. In a share of the rows the picture is cut around its thing, so that small marks (a mouth) are also seen
large; the words of such a row do not say where the thing is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brainenc.pocket.clip_model import as_input
from brainenc.pocket.scenes_cache import ScenesCache
from brainenc.pocket.tokenizer import encode
from brainenc.pocket.wordings import TEMPLATES, say


@dataclass(frozen=True)
class Mixture:
    """Shares of the batches' kinds, of zoomed rows, and weights of the caption styles."""

    batch_size: int = 128
    hard: float = 0.25
    asking: float = 0.15
    crowded: float = 0.0
    zoomed: float = 0.3
    widest: float = 1.8  # side of the cut over the longer side of the thing
    styles: tuple[tuple[str, float], ...] = (
        ("full", 0.30),
        ("things", 0.20),
        ("attributes", 0.15),
        ("sentence", 0.12),
        ("short", 0.08),
        ("category", 0.05),
        ("list", 0.05),
        ("placed", 0.05),
    )
    without_place: tuple[str, ...] = ("placed",)  # styles that a zoomed picture would make untrue


class Batches:
    """Draws (images, tokens) from a cache of scenes.

    Parameters
    ----------
    scenes : ScenesCache
    tokenizer : PreTrainedTokenizerFast
    mixture : Mixture
    """

    def __init__(self, scenes: ScenesCache, tokenizer: Any, mixture: Mixture) -> None:
        self.scenes, self.tokenizer, self.mixture = scenes, tokenizer, mixture
        self.styles = [scenes.styles.index(name) for name, _ in mixture.styles]
        weights = np.array([weight for _, weight in mixture.styles])
        self.weights = weights / weights.sum()
        anywhere = np.array([name not in mixture.without_place for name, _ in mixture.styles])
        self.zoomed_weights = self.weights * anywhere / (self.weights * anywhere).sum()
        main, is_single = scenes.main, scenes.is_single
        self.of_category = {str(c): np.flatnonzero(main == c) for c in np.unique(main) if c}
        self.askable = _askable(scenes, main, is_single)
        self.crowds = _crowds(scenes)

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images (batch_size, 3, size, size) float32 and tokens (batch_size, context_length) int64."""
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        mixture, size, kind = self.mixture, self.mixture.batch_size, rng.random()
        if self.askable and kind < mixture.asking:
            category, attribute = list(self.askable)[rng.integers(len(self.askable))]
            rows = rng.choice(self.askable[category, attribute], size)
            zoomed = rng.random(size) < mixture.zoomed
            texts = [say(self.scenes.things[row][0], attribute) or "" for row in rows]
        else:
            if kind < mixture.asking + mixture.hard:
                rows = rng.choice(self.of_category[list(self.of_category)[rng.integers(len(self.of_category))]], size)
            elif self.crowds and kind < mixture.asking + mixture.hard + mixture.crowded:
                rows = rng.choice(self.crowds[rng.integers(len(self.crowds))], size)
            else:
                rows = rng.integers(len(self.scenes), size=size)
            zoomed = (rng.random(size) < mixture.zoomed) & np.array([self._may_zoom(row) for row in rows])
            texts = [self._caption(rng, row, cut) for row, cut in zip(rows, zoomed, strict=True)]
        images = as_input(np.stack([self.scenes.images[row] for row in rows]))
        windows = [self._window(rng, row, cut) for row, cut in zip(rows, zoomed, strict=True)]
        return cut_out(images, torch.tensor(windows)), encode(self.tokenizer, texts)

    def _caption(self, rng: np.random.Generator, row: int, zoomed: bool) -> str:
        chosen = rng.choice(len(self.styles), p=self.zoomed_weights if zoomed else self.weights)
        return self.scenes.captions[row][self.styles[chosen]]

    def _may_zoom(self, row: int) -> bool:
        things = self.scenes.things[row]
        return len(things) == 1 and things[0].category != "place"

    def _window(self, rng: np.random.Generator, row: int, zoomed: bool) -> tuple[float, float, float]:
        """Left, top and side of the part to be seen, in 0..1 of the image."""
        if not zoomed or not self._may_zoom(row):
            return 0.0, 0.0, 1.0
        x0, y0, x1, y1 = self.scenes.things[row][0].box
        side = min(1.0, max(x1 - x0, y1 - y0) * rng.uniform(1.05, self.mixture.widest))
        left, top = (_slide(rng, low, high, side) for low, high in ((x0, x1), (y0, y1)))
        return left, top, side


def _askable(scenes: ScenesCache, main: np.ndarray, is_single: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """Scenes with one thing for which an attribute can be asked, where at least two answers occur."""
    found = {}
    for category, attribute in TEMPLATES:
        rows = [i for i in np.flatnonzero(is_single & (main == category)) if say(scenes.things[i][0], attribute)]
        if len({scenes.things[i][0].attributes[attribute] for i in rows}) > 1:
            found[category, attribute] = np.array(rows)
    return found


def _crowds(scenes: ScenesCache) -> list[np.ndarray]:
    """Scenes with several things: for each category those that hold it, and as often all of them."""
    several = np.array([len(scene) > 1 for scene in scenes.things])
    sharing = [np.flatnonzero(several & holds) for holds in scenes.shown.T]
    sharing = [rows for rows in sharing if len(rows)]
    return sharing + [np.flatnonzero(several)] * len(sharing)


def _slide(rng: np.random.Generator, low: float, high: float, side: float) -> float:
    """Where a window of ``side`` begins that holds low..high and lies in 0..1."""
    first, last = max(0.0, high - side), min(1.0 - side, low)
    return float(rng.uniform(min(first, last), max(first, last)))


def cut_out(images: Tensor, windows: Tensor) -> Tensor:
    """The windows of images, each brought back to full size by linear interpolation.

    Parameters
    ----------
    images : Tensor (n, n_channels, size, size)
    windows : Tensor (n, 3)
        Left, top and side in 0..1 of the image; (0, 0, 1) leaves an image as it is.
    """
    left, top, side = windows.float().unbind(1)
    rows = torch.stack([side, torch.zeros_like(side), 2 * left + side - 1], 1)
    columns = torch.stack([torch.zeros_like(side), side, 2 * top + side - 1], 1)
    part = side < 1
    if not part.any():
        return images
    theta = torch.stack([rows, columns], 1)[part]
    cut = images.clone()
    grid = torch.nn.functional.affine_grid(theta, list(images[part].shape), align_corners=False)
    cut[part] = torch.nn.functional.grid_sample(images[part], grid, padding_mode="border", align_corners=False)
    return cut
