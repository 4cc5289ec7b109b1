"""Scenes are drawn as often as asked, captions in the shares asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainenc.core.types import DataError
from brainenc.pocket.scene_choice import choose_captions, draw_rows, numpy_generator, scene_weights
from brainenc.world.scene_captions import STYLES

SHOWN = [["tool"]] * 2 + [["face"]] * 8 + [["face", "place"]] * 4 + [[]]


def test_categories_are_balanced_whatever_their_share():
    weights = scene_weights(SHOWN, crowds=0.0, categories={})
    assert np.isclose(weights.sum(), 1)
    assert np.isclose(weights[:2].sum(), weights[2:10].sum())
    assert weights[-1] == 0 and weights[10:14].sum() == 0


def test_a_category_can_come_more_often():
    weights = scene_weights(SHOWN, crowds=0.0, categories={"tool": 3.0})
    assert np.isclose(weights[:2].sum(), 3 * weights[2:10].sum())


def test_crowds_come_in_proportion_to_their_weight():
    """Twins of a crowd: two scenes with the same things, alone and together, differ by the weight of crowds alone."""
    shown = [["face"], ["face", "face"]]
    for crowds in (0.25, 0.5, 1.0):
        weights = scene_weights(shown, crowds, {})
        assert np.isclose(weights[1] / weights[0], crowds)


def test_nothing_to_draw_is_refused():
    with pytest.raises(DataError, match="shows a thing"):
        scene_weights([[], []], 1.0, {})
    with pytest.raises(DataError, match="weight above 0"):
        scene_weights([["face", "tool"]], 0.0, {})


def test_rows_follow_their_weights():
    cumulated = np.cumsum([0.5, 0.0, 0.3, 0.2])
    rows = draw_rows(cumulated, 20_000, np.random.default_rng(0))
    shares = np.bincount(rows, minlength=4) / len(rows)
    assert np.allclose(shares, [0.5, 0, 0.3, 0.2], atol=0.02) and shares[1] == 0
    assert (np.diff(rows) >= 0).all()


def test_captions_come_in_the_shares_asked():
    scenes = [STYLES] * 8000
    said = choose_captions(scenes, {"full": 3, "short": 1}, np.random.default_rng(0))
    assert set(said) == {"full", "short"}
    assert abs(said.count("full") / len(said) - 0.75) < 0.03
    with pytest.raises(DataError, match="style 'poem'"):
        choose_captions(scenes, {"poem": 1}, np.random.default_rng(0))


def test_a_numpy_generator_follows_the_torch_one():
    first, second = (numpy_generator(torch.Generator().manual_seed(3)).random(4) for _ in range(2))
    assert np.array_equal(first, second)
    both = torch.Generator().manual_seed(3)
    assert numpy_generator(both).random() != numpy_generator(both).random()
