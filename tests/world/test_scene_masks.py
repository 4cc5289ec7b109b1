"""Masks show where things are seen, light falls as planned, occlusion has its share, labels are structured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from brainenc.world.scene_light import light_up
from brainenc.world.scenes import CATEGORIES, MANNERS, ScenePlan, paint_masks, paint_scene, plan_scene

THINGS = tuple(category for category in CATEGORIES if category != "place")


def drawing(plan: ScenePlan) -> ScenePlan:
    return replace(plan, light=None)


def seen_change(plan: ScenePlan, size: int) -> np.ndarray:
    """Pixels that a thing changes clearly: painted on its own backdrop and on one of another kind."""
    with_thing, without = paint_scene(plan, size), paint_scene(replace(plan, layers=()), size)
    return np.abs(with_thing.image.astype(int) - without.image).max(axis=2) > 12


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / max(1, (first | second).sum()))


@pytest.mark.parametrize("category", THINGS)
def test_a_mask_covers_the_pixels_that_a_thing_changes(category: str) -> None:
    right, shifted = [], []
    for seed in range(12):
        plan = drawing(plan_scene(seed, [category]))
        mask, change = paint_masks(plan, 64) == 1, seen_change(plan, 64)
        right.append(agreement(mask, change))
        shifted.append(agreement(np.roll(mask, 9, axis=1), change))
    assert np.median(right) > 0.75
    # The broken twin: a mask beside the thing.
    assert np.median(shifted) < min(0.65, np.median(right) - 0.15)


def test_masks_lie_in_boxes_and_front_things_hide_others() -> None:
    for seed in range(30):
        plan = plan_scene(seed, ["face", "tool", "vehicle"])
        labels = paint_masks(plan, 64)
        boxes = [thing.box for thing in paint_scene(plan, 64).things]
        for index, (x0, y0, x1, y1) in enumerate(boxes):
            rows, columns = np.nonzero(labels == index + 1)
            assert len(rows) and columns.min() >= 64 * x0 - 1 and columns.max() <= 64 * x1 + 1
            assert rows.min() >= 64 * y0 - 1 and rows.max() <= 64 * y1 + 1
            alone = paint_masks(replace(plan, layers=(plan.layers[index],)), 64) == 1
            later = [paint_masks(replace(plan, layers=(layer,)), 64) == 1 for layer in plan.layers[index + 1 :]]
            hidden = np.logical_or.reduce(later) if later else np.zeros_like(alone)
            np.testing.assert_array_equal(labels == index + 1, alone & ~hidden)


def test_masks_of_places_and_of_nothing_are_empty() -> None:
    assert not paint_masks(plan_scene(0, ["place"]), 64).any()
    assert not paint_masks(plan_scene(0, []), 64).any()
    assert paint_masks(plan_scene(0, ["face"]), 40).shape == (40, 40)


def hidden_share(plan: ScenePlan) -> float:
    """The largest share of a thing that others hide."""
    labels, shares = paint_masks(plan, 64), []
    for index, layer in enumerate(plan.layers):
        alone = np.sum(paint_masks(replace(plan, layers=(layer,)), 64) == 1)
        shares.append(1 - np.sum(labels == index + 1) / alone)
    return max(shares)


def test_some_scenes_have_occlusion_but_nothing_vanishes() -> None:
    shares = np.array([hidden_share(plan_scene(seed, ["vehicle", "food"])) for seed in range(250)])
    assert 0.08 < np.mean(shares > 0.05) < 0.35
    assert shares.max() < 0.75


def test_pairs_may_be_twins() -> None:
    plans = [plan_scene(seed) for seed in range(1500)]
    pairs = [plan for plan in plans if len(plan.layers) + (plan.place is not None) == 2]
    twins = [plan for plan in pairs if len({layer.category for layer in plan.layers}) == 1 and plan.place is None]
    assert 0.08 < len(twins) / len(pairs) < 0.35
    assert any(plan.layers[0].sketch.phrase != plan.layers[1].sketch.phrase for plan in twins)


def test_attributes_are_structured() -> None:
    keys = {
        "face": {"kind", "who", "expression", "hair", "glasses", "beard", "shirt"},
        "word": {"kind", "word", "colour"},
        "food": {"kind", "plate"},
        "tool": {"kind", "colour"},
        "vehicle": {"kind", "colour"},
        "body": {"kind", "colour"},
    }
    for category, wanted in keys.items():
        for seed in range(30):
            attributes = plan_scene(seed, [category]).layers[0].sketch.attributes
            assert wanted <= set(attributes)
            assert all(isinstance(value, str) and value for value in attributes.values())
    assert set(keys) == set(MANNERS)


def test_light_follows_its_equation() -> None:
    light = plan_scene(3).light
    grey = np.full((64, 64, 3), 100, np.uint8)
    plain = replace(light, gain=0.8, tint=(1.1, 1.0, 0.9), slope=0.0, vignette=0.0, grain=0.0)
    np.testing.assert_allclose(light_up(grey, plain)[20, 20], [88, 80, 72], atol=1)
    from_right = light_up(grey, replace(plain, slope=0.2, direction=0.0)).mean(axis=(0, 2))
    assert from_right[-1] > from_right[0] + 20 and np.all(np.diff(from_right) >= 0)
    from_below = light_up(grey, replace(plain, slope=0.2, direction=np.pi / 2)).mean(axis=(1, 2))
    assert from_below[-1] > from_below[0] + 20
    dark_corners = light_up(grey, replace(plain, vignette=0.3))[:, :, 1]
    assert dark_corners[0, 0] < 0.75 * dark_corners[32, 32]
    noisy = light_up(grey, replace(plain, grain=6.0))[:, :, 1].astype(float)
    assert 5 < noisy.std() < 7


def test_shadows_fall_away_from_the_light() -> None:
    for direction, side in ((0.0, "left"), (np.pi, "right")):
        plan = plan_scene(8, ["vehicle"])
        layer = replace(plan.layers[0], centre=(0.5, 0.5), extent=0.5)
        even = replace(plan.light, slope=0.0, vignette=0.0, grain=0.0, direction=direction, reach=0.04)
        with_shadow = replace(plan, layers=(layer,), light=replace(even, shadow=0.5))
        without = replace(plan, layers=(layer,), light=replace(even, shadow=0.0))
        darker = paint_scene(without, 64).image.astype(int) - paint_scene(with_shadow, 64).image
        beside = paint_masks(without, 64) == 0
        darker = np.where(beside, darker.mean(axis=2), 0)
        assert darker.min() >= -1 and darker.sum() > 50
        balance = darker[:, :32].sum() - darker[:, 32:].sum()
        assert (balance > 0) == (side == "left")
