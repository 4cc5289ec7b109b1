"""What an in-context encoder says beside its predictions: what it looked at, and what its weights mean.

    attention     row of token 0, mean over heads: which context stimuli the weights were made from
    selectivity   score = W' t of unit-norm text embeddings t: which words a target answers to
    colours       three principal components (or UMAP) of the weight vectors as red, green and blue
    group mean    weights of the same place in other subjects: what anatomy alone predicts

Source: BraInCoRL, Yu et al. 2025, arXiv:2505.15813; UMAP: McInnes, Healy & Melville 2018, arXiv:1802.03426.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainenc.core.types import DataError
from brainenc.encoders.in_context import InContext, to_tensors


def attention_to_context(encoder: InContext, X: Any, Y: Any, layer: int = -1) -> np.ndarray:
    """Return how much each target's weights were made from each context stimulus, (n_targets, n_context) float32.

    The attention of token 0, mean over heads. It is formed here only: `InContext.fit` never needs it. The learned
    tokens take the rest of each row's 1. NaN for targets without any finite response, 0 for a missing one.

    Parameters
    ----------
    X, Y : the context, as for `InContext.fit`; all rows are used.
    layer : which block; the last by default.

    Raises
    ------
    DataError
        If there is no such layer, or the context is not one for this network.
    """
    from brainenc.nn.device import repeatable_inference
    from brainenc.nn.voxel_tasks import check_unit_norm

    network = encoder.network()
    n_layers = network.shape.n_layers
    if not -n_layers <= layer < n_layers:
        raise DataError(f"layer is {layer}, wanted one of {n_layers} (from 0, or from -1 backwards): choose one.")
    X = check_unit_norm(X, "attention_to_context")
    rows = np.full((int(Y.shape[1]), len(X)), np.nan, dtype=np.float32)
    for columns, y in encoder.blocks(Y, np.arange(len(X))):
        some = np.isfinite(y).any(axis=0)
        if some.any():
            with repeatable_inference():
                attention = network.attention(*to_tensors(X, y[:, some], network))[layer]
            rows[columns][some] = attention.cpu().numpy()
    return rows


@dataclass(frozen=True)
class Selectivity:
    """What targets answer to, among some prompts.

    Attributes
    ----------
    names : (n_prompts,) str
    scores : (n_prompts, n_targets) response to a text's embedding beyond the intercept.
    z : (n_prompts, n_targets) scores, z-scored across prompts; NaN where all prompts score the same.
    best : (n_targets,) int64 index of the best prompt, -1 for targets without weights.
    """

    names: tuple[str, ...]
    scores: np.ndarray
    z: np.ndarray
    best: np.ndarray

    def share(self, name: str, targets: Any = slice(None)) -> float:
        """Return the share of the targets whose best prompt it is, among those with weights."""
        if name not in self.names:
            raise DataError(f"prompt {name!r} is unknown, wanted one of {', '.join(self.names)}: choose one.")
        best = self.best[targets]
        best = best[best >= 0]
        return float(np.mean(best == self.names.index(name))) if len(best) else float("nan")


def text_selectivity(coef: np.ndarray, prompts: Mapping[str, Any]) -> Selectivity:
    """Return what each target answers to.

    Parameters
    ----------
    coef : (n_features, n_targets) weights, NaN for targets without.
    prompts : name -> text embeddings (n_features,), or (n_texts, n_features) of several wordings, which are averaged
        and brought back to unit norm. From the text tower that belongs to the images' embeddings.

    Raises
    ------
    DataError
        If there are fewer than two prompts, or their embeddings are of another size or not of unit norm.
    """
    from brainenc.nn.voxel_tasks import check_unit_norm

    if len(prompts) < 2:
        raise DataError(f"{len(prompts)} prompts came, wanted at least two to choose from: give more.")
    directions = []
    for name, given in prompts.items():
        texts = check_unit_norm(np.atleast_2d(given), f"prompt {name!r}")
        if texts.shape[1] != len(coef):
            raise DataError(
                f"prompt {name!r} has {texts.shape[1]} features, the weights {len(coef)}: use the text tower that "
                "belongs to the images' embeddings."
            )
        mean = texts.mean(axis=0)
        directions.append(mean / np.linalg.norm(mean))
    scores = np.array(directions) @ coef
    spread = scores.std(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(spread > 0, (scores - scores.mean(axis=0)) / spread, np.nan)
    known = np.isfinite(scores).all(axis=0)
    best = np.where(known, np.where(known, scores, 0.0).argmax(axis=0), -1)
    return Selectivity(tuple(prompts), scores, z, best)


def principal_colours(coef: np.ndarray, n_colours: int = 3) -> np.ndarray:
    """Return the first principal components of the weight vectors as colours in 0..1, (n_targets, n_colours) float32.

    Each component is stretched between its 2nd and 98th percentile; its sign is such that its largest loading is
    positive, so the same weights have the same colours. NaN for targets without weights.

    Parameters
    ----------
    coef : (n_features, n_targets)

    Raises
    ------
    DataError
        If there are fewer targets with weights, or features, than colours.
    """
    W, known = _weight_vectors(coef, n_colours)
    W = W - W.mean(axis=0)
    _, _, axes = np.linalg.svd(W, full_matrices=False)
    axes = axes[:n_colours]
    axes = axes * np.sign(axes[np.arange(n_colours), np.abs(axes).argmax(axis=1)])[:, None]
    return _stretched(W @ axes.T, known)


def umap_colours(coef: np.ndarray, seed: int, n_colours: int = 3, n_neighbours: int = 15) -> np.ndarray:
    """Return a UMAP of the weight vectors as colours in 0..1, (n_targets, n_colours) float32, as `principal_colours`.

    Raises
    ------
    DataError
        If umap-learn is not installed.
    """
    try:
        from umap import UMAP
    except ImportError as error:
        raise DataError(
            "UMAP colours need the package umap-learn, which is not installed: pip install umap-learn, or use "
            "principal_colours."
        ) from error
    W, known = _weight_vectors(coef, n_colours)
    made = UMAP(n_components=n_colours, n_neighbors=n_neighbours, metric="cosine", random_state=seed).fit_transform(W)
    return _stretched(np.asarray(made), known)


def group_average(weights: Mapping[str, tuple[np.ndarray, np.ndarray]], subject: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the anatomical baseline: the mean over all other subjects' weights at the same aligned target.

    Parameters
    ----------
    weights : subject -> (coef (n_features, n_targets), intercept (n_targets,)), targets aligned over subjects (such as
        the vertices of fsaverage); NaN where a subject has none.
    subject : whose weights are left out, and need not be there.

    Returns
    -------
    coef, intercept : as given; NaN where no other subject has weights.

    Raises
    ------
    DataError
        If no other subject is there, or targets are not aligned.
    """
    others = [pair for name, pair in weights.items() if name != subject]
    shapes = {(np.shape(coef), np.shape(intercept)) for coef, intercept in others}
    if len(shapes) != 1:
        raise DataError(
            f"{len(others)} subjects other than {subject!r} have weights of shapes {sorted(shapes)}, wanted at least "
            "one subject and the same targets in all: bring them to one surface."
        )
    stacked = np.array([np.vstack([coef, np.asarray(intercept)[None]]) for coef, intercept in others], dtype=np.float64)
    known = np.isfinite(stacked).all(axis=1, keepdims=True)
    count = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (np.where(known, stacked, 0.0).sum(axis=0) / count).astype(np.float32)
    return mean[:-1], mean[-1]


def _weight_vectors(coef: np.ndarray, n_colours: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight vectors (n_known, n_features) float64, and which targets have them."""
    W = np.asarray(coef, dtype=np.float64).T
    known = np.asarray(np.isfinite(W).all(axis=1))
    if min(known.sum(), W.shape[1]) < n_colours:
        raise DataError(
            f"{known.sum()} targets with {W.shape[1]} weights came, wanted at least {n_colours} of both: give more."
        )
    return W[known], known


def _stretched(parts: np.ndarray, known: np.ndarray) -> np.ndarray:
    low, high = np.percentile(parts, [2, 98], axis=0)
    span = np.where(high > low, high - low, 1.0)
    colours = np.full((len(known), parts.shape[1]), np.nan, dtype=np.float32)
    colours[known] = np.clip((parts - low) / span, 0.0, 1.0)
    return colours
