"""How well a pocket image network reads held-out scenes, and its verdict on pictures of any origin.

Held-out scenes have seeds from 500,000 on; training scenes begin at 1,000,000.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brainenc.pocket.image_net import Heads, as_input, label, load_network
from brainenc.pocket.scenes_cache import FIRST_SEED, ScenesCache
from brainenc.world.scenes import CATEGORIES, Scene, Thing, render_scene

FIRST_TEST_SEED = FIRST_SEED["test"]
FLOORS = {"content": 0.97}
SSL_FLOORS: dict[str, float] = {}


def held_out_scenes(n_scenes: int, categories: Sequence[str] | None = None, size: int = 64) -> list[Scene]:
    """Scenes that no training saw; with ``categories`` each shows exactly those."""
    return [render_scene(FIRST_TEST_SEED + i, size, categories) for i in range(n_scenes)]


def single_content_scenes(n_per_category: int, size: int = 64) -> list[Scene]:
    """Held-out scenes with one category each, all categories equally often, category after category."""
    return [scene for category in CATEGORIES for scene in held_out_scenes(n_per_category, [category], size)]


def answers(network: Any, images: np.ndarray, n_per_batch: int = 250) -> np.ndarray:
    """All outputs of a network for images (n_images, size, size, 3) of uint8: (n_images, n_outputs) of float32."""
    import torch

    device = next(network.parameters()).device
    with torch.no_grad():
        parts = [
            network(as_input(images[start : start + n_per_batch]).to(device)).float().cpu().numpy()
            for start in range(0, len(images), n_per_batch)
        ]
    return np.concatenate(parts)


class Judge:
    """Verdicts of a trained network on pictures: what they show, and what it reads in them.

    Parameters
    ----------
    network : Module
    heads : Heads
    """

    def __init__(self, network: Any, heads: Heads) -> None:
        self.network, self.heads = network, heads

    @classmethod
    def load(cls, folder: Path | str) -> Judge:
        """Read the network of a folder; raises DataError where there is none, or one without answers."""
        from brainenc.core.types import DataError

        network, heads = load_network(folder)
        if heads is None:
            raise DataError(f"{folder} has no heads.json, wanted a network with answers: use pocket-net.")
        return cls(network, heads)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probability that each category is shown: (n_images, 7) in 0..1, columns as ``CATEGORIES``."""
        shown = answers(self.network, images)[:, self.heads.columns("content")].astype(np.float64)
        return np.asarray(1 / (1 + np.exp(-shown)))

    def read(self, images: np.ndarray, head: str) -> list[str]:
        """The likeliest answer to an attribute such as ``"word.word"`` for each image; DataError for another name."""
        columns = self.heads.columns(head)
        return [self.heads.answers[head][i] for i in answers(self.network, images)[:, columns].argmax(1)]


def net_scores(network: Any, heads: Heads, n_per_category: int = 200) -> dict[str, float]:
    """Scores on held-out scenes with one content.

    Returns
    -------
    dict of str -> float
        ``content``: share whose strongest content is right; ``content_worst``: the same in the worst category;
        ``position``: median distance of box centres in units of the image side; ``c.a``: share of right answers for
        each attribute.
    """
    scenes = single_content_scenes(n_per_category)
    given = answers(network, np.stack([scene.image for scene in scenes]))
    return read_scores(given, [scene.things for scene in scenes], heads)


def quick_scores(network: Any, heads: Heads, scenes: ScenesCache) -> dict[str, float]:
    """Scores of `read_scores` on the scenes of a cache that show one thing: what is looked at during training."""
    single = np.flatnonzero(scenes.is_single)
    scores = read_scores(answers(network, scenes.images[single]), [scenes.things[i] for i in single], heads)
    return {name: scores[name] for name in ("content", "position", "word.word") if name in scores}


def read_scores(given: np.ndarray, things: Sequence[Sequence[Thing]], heads: Heads) -> dict[str, float]:
    """Scores of outputs (n_scenes, n_outputs) for one-content scenes, given the things of each; see `net_scores`."""
    truth = label(things, heads)
    content = truth.content.argmax(1)
    is_right = given[:, heads.columns("content")].argmax(1) == content
    scores = {
        "content": float(is_right.mean()),
        "content_worst": min(float(is_right[content == number].mean()) for number in np.unique(content)),
    }
    known = np.isfinite(truth.position)
    if known.any():
        errors = np.where(known, given[:, heads.columns("position")] - truth.position, 0).reshape(len(things), -1, 4)
        distances = np.hypot(errors[..., 0], errors[..., 1])[known.reshape(len(things), -1, 4)[..., 0]]
        scores["position"] = float(np.median(distances))
    for column, name in enumerate(heads.attributes):
        wanted = truth.values[:, column]
        if (wanted >= 0).any():
            came = given[:, heads.columns(name)].argmax(1)
            scores[name] = float((came == wanted)[wanted >= 0].mean())
    return scores


def linear_probe(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], penalty: float = 1.0
) -> float:
    """Share of test rows whose content a ridge classifier on features gets right.

    Parameters
    ----------
    train, test : (features, content)
        (n_samples, n_features) and the number of the category of each, (n_samples,).
    penalty : float
        On standardised features.
    """
    features, content = train
    centre, spread = features.mean(0), features.std(0) + 1e-6
    inputs = (features - centre) / spread
    targets = np.eye(len(CATEGORIES))[content]
    weights = np.linalg.solve(
        inputs.T @ inputs + penalty * np.eye(inputs.shape[1]), inputs.T @ (targets - targets.mean(0))
    )
    came = ((test[0] - centre) / spread) @ weights + targets.mean(0)
    return float((came.argmax(1) == test[1]).mean())


def probe_scores(network: Any, scenes: ScenesCache, test: ScenesCache, n_train: int = 8_000) -> dict[str, float]:
    """Content read from the pooled features of a network by `linear_probe`, on scenes with one thing: ``probe``."""

    def read(cache: ScenesCache, most: int) -> tuple[np.ndarray, np.ndarray]:
        single = np.flatnonzero(cache.is_single)[:most]
        return answers(network, cache.images[single]), cache.shown[single].argmax(1)

    return {"probe": linear_probe(read(scenes, n_train), read(test, len(test)))}
