"""Which scenes a training step sees and in which words: weights of scenes, shares of caption styles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from brainenc.core.types import DataError
from brainenc.world.scene_captions import STYLES


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """A numpy generator that depends on a torch one, which moves on."""
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))


def choose_captions(
    captions: Sequence[Sequence[str]], shares: Mapping[str, float], generator: np.random.Generator
) -> list[str]:
    """One caption of each scene, its style drawn by ``shares`` (style -> relative weight).

    Parameters
    ----------
    captions : sequence of sequence of str
        One per style of `scene_captions.STYLES`.

    Raises
    ------
    DataError
        A style that does not exist.
    """
    unknown = sorted(set(shares) - set(STYLES))
    if unknown:
        raise DataError(f"Caption style {unknown[0]!r} came, some of {', '.join(STYLES)} were wanted: correct it.")
    weights = np.array([shares.get(style, 0.0) for style in STYLES])
    chosen = generator.choice(len(STYLES), len(captions), p=weights / weights.sum())
    return [styles[number] for styles, number in zip(captions, chosen, strict=True)]


def scene_weights(shown: Sequence[Sequence[str]], crowds: float, categories: Mapping[str, float]) -> np.ndarray:
    """How often each scene is drawn, summing to 1: (n_scenes,).

    Categories are drawn equally often, or as often as ``categories`` says relative to 1, whatever their share of the
    scenes; a scene with several things counts ``crowds`` of one with a single thing, an empty one nothing.

    Parameters
    ----------
    shown : sequence of sequence of str
        Category of each thing of each scene.
    crowds : float
        Relative weight of scenes with several things.
    categories : mapping of category -> float
        Relative weights; 1 where left out.

    Raises
    ------
    DataError
        No scene shows a thing.
    """
    names = sorted({name for scene in shown for name in scene})
    if not names:
        raise DataError("No training scene shows a thing, wanted some: render scenes with categories.")
    alone = np.array([{0: 0.0, 1: 1.0}.get(len(scene), crowds) for scene in shown])
    counts = np.array([[list(scene).count(name) for name in names] for scene in shown], dtype=float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    totals = (shares * alone[:, None]).sum(0)
    wanted = np.array([categories.get(name, 1.0) for name in names])
    weights = alone * (shares @ np.divide(wanted, totals, out=np.zeros_like(wanted), where=totals > 0))
    if weights.sum() == 0:
        raise DataError("No training scene has a weight above 0, wanted some: give crowds a weight or render more.")
    return np.asarray(weights / weights.sum())


def draw_rows(cumulated: np.ndarray, n_rows: int, generator: np.random.Generator) -> np.ndarray:
    """Rows drawn with the probabilities whose running sum is ``cumulated`` (n_scenes,): (n_rows,) of int64, sorted."""
    places = generator.random(n_rows) * cumulated[-1]
    return np.sort(np.searchsorted(cumulated, places, side="right").clip(max=len(cumulated) - 1))
