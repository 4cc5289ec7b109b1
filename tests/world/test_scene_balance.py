"""No category is given away by colour or layout: classifiers that see only those stay far below one that sees form.

Places are left out: they fill the image and are meant to be told by their layout.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainenc.world.scene_colours import COLOURS
from brainenc.world.scenes import CATEGORIES, paint_scene, plan_scene

THINGS = tuple(category for category in CATEGORIES if category != "place")
N_PER_CATEGORY = 500
LIMIT = 0.45  # chance is 1/6


def features(images: np.ndarray) -> dict[str, np.ndarray]:
    """Pictures (n, 64, 64, 3) -> what is known without form."""
    means, spread = images.mean(axis=(1, 2), dtype=np.float64), images.std(axis=(1, 2), dtype=np.float64)
    thumbnails = images.reshape(len(images), 4, 16, 4, 16, 3).mean(axis=(2, 4), dtype=np.float64)
    return {
        "means": means,
        "means and spread": np.hstack([means, spread]),
        "thumbnails": thumbnails.reshape(len(images), -1),
    }


def accuracy(X: np.ndarray, labels: np.ndarray) -> float:
    """Cross-validated share of right categories of a logistic regression."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converged to the last digit is good enough
        return float(cross_val_score(model, X, labels, cv=StratifiedKFold(3, shuffle=True, random_state=0)).mean())


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray]:
    """Pictures of single things and their labels; every scene has a seed, hence a backdrop and a light, of its own."""
    labels = np.tile(np.arange(len(THINGS)), N_PER_CATEGORY)
    images = [paint_scene(plan_scene(510_000 + i, [THINGS[label]])).image for i, label in enumerate(labels)]
    return np.stack(images), labels


@pytest.mark.slow
@pytest.mark.parametrize("name", ["means", "means and spread", "thumbnails"])
def test_colour_and_layout_do_not_give_the_category_away(world, name: str) -> None:
    images, labels = world
    assert accuracy(features(images)[name], labels) < LIMIT


@pytest.mark.slow
def test_the_check_notices_a_tint_and_a_position(world) -> None:
    """The broken twins: one channel, or one cell of the grid, brighter by category."""
    images, labels = world
    tinted = images.astype(np.int16)
    tinted[..., 0] += 50 * (labels % 3 - 1)[:, None, None].astype(np.int16)
    tinted[..., 2] += 50 * (labels // 3)[:, None, None].astype(np.int16)
    assert accuracy(features(np.clip(tinted, 0, 255))["means"], labels) > LIMIT
    placed = images.astype(np.int16)
    for i, label in enumerate(labels):
        row, column = divmod(int(label), 4)
        placed[i, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] += 90
    assert accuracy(features(np.clip(placed, 0, 255))["thumbnails"], labels) > LIMIT


def test_categories_share_one_palette() -> None:
    """Clothes, tools, vehicles and letters draw from the same colours with the same frequencies."""
    n = 880
    named = {"face": "shirt", "body": "colour", "word": "colour", "tool": "colour", "vehicle": "colour"}
    for category, attribute in named.items():
        shown = [plan_scene(seed, [category]).layers[0].sketch.attributes[attribute] for seed in range(n)]
        counts = np.array([shown.count(colour) for colour in COLOURS])
        assert counts.sum() == n
        chi2 = ((counts - n / len(COLOURS)) ** 2 / (n / len(COLOURS))).sum()
        assert chi2 < 30, (category, counts)  # 10 degrees of freedom: p < .001 beyond 29.6


def test_scenes_share_one_distribution_of_places_and_light() -> None:
    centres, gains = {}, {}
    for k, category in enumerate(THINGS):
        plans = [plan_scene(520_000 + 1000 * k + i, [category]) for i in range(300)]
        centres[category] = np.array([plan.layers[0].centre for plan in plans])
        gains[category] = np.array([plan.light.gain for plan in plans])
    for category in THINGS:
        np.testing.assert_allclose(centres[category].mean(axis=0), 0.5, atol=0.04)
        assert abs(gains[category].mean() - 0.96) < 0.03
