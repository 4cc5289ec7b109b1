"""Films: warping a frame by the flow gives the next frame, and the flow is that of the planned motion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import map_coordinates, minimum_filter

from brainenc.core.types import DataError
from brainenc.world.clips import ClipPlan, Motion, optical_flow, paint_clip, paint_clip_masks, plan_clip
from brainenc.world.scenes import CATEGORIES, plan_scene

THINGS = tuple(category for category in CATEGORIES if category != "place")
SIZE = 96


def interior(labels: np.ndarray, label: int) -> np.ndarray:
    """Pixels whose whole neighbourhood shows this thing."""
    return minimum_filter((labels == label).astype(np.uint8), 5).astype(bool)


def warping_errors(plan: ClipPlan, flow: np.ndarray, label: int) -> list[float]:
    """Mean absolute difference (grey levels) of a frame and the next one read where the flow points to.

    Only pixels well inside a thing in both frames, judged by the true flow.
    """
    frames, labels, truth = paint_clip(plan, SIZE), paint_clip_masks(plan, SIZE), optical_flow(plan, SIZE)
    errors = []
    for k in range(plan.n_frames - 1):
        rows, columns = np.nonzero(interior(labels[k], label))
        there = np.stack([rows + truth[k, rows, columns, 1], columns + truth[k, rows, columns, 0]])
        still_seen = map_coordinates(interior(labels[k + 1], label).astype(float), there, order=1, cval=0) > 0.99
        rows, columns = rows[still_seen], columns[still_seen]
        if len(rows) < 60:
            continue
        target = [rows + flow[k, rows, columns, 1], columns + flow[k, rows, columns, 0]]
        nexts = [
            map_coordinates(frames[k + 1, :, :, c].astype(float), target, order=1, mode="nearest") for c in range(3)
        ]
        errors.append(float(np.abs(np.stack(nexts, 1) - frames[k, rows, columns]).mean()))
    return errors


def swift(category: str, seed: int, motion: Motion) -> ClipPlan:
    """A clip of one large thing in the middle, at its fastest."""
    plan = plan_clip(seed, seconds=0.5, fps=8, categories=[category])
    layer = replace(plan.scene.layers[0], centre=(0.5, 0.5), extent=0.7, angle=0.0)
    return replace(plan, scene=replace(plan.scene, layers=(layer,)), motions=(motion,))


@pytest.mark.parametrize(
    "motion",
    [Motion(move=(0.2, 0.12), periods=(2.5, 4, 4)), Motion(grow=0.35, periods=(4, 2.5, 4)), Motion(turn=0.7)],
    ids=lambda motion: motion.words,
)
def test_the_flow_carries_each_frame_to_the_next(motion: Motion) -> None:
    right, wrong = [], []
    for seed, category in enumerate(THINGS):
        plan = swift(category, 40 + seed, motion)
        flow = optical_flow(plan, SIZE)
        assert np.abs(flow).max() > 1.5, "the motion is worth testing"
        right += warping_errors(plan, flow, 1)
        wrong += warping_errors(plan, -flow, 1)  # the broken twin: opposite sign
    assert len(right) >= 12
    assert np.mean(right) < 6 and np.mean(wrong) > 2 * np.mean(right)


def test_the_backdrop_pans_against_the_window() -> None:
    right, wrong = [], []
    for seed in range(6):
        plan = replace(plan_clip(seed, 0.5, 8, ["place"]), pan=(0.1, 0.06), pan_period=2.0)
        flow = optical_flow(plan, SIZE)
        right += warping_errors(plan, flow, 0)
        wrong += warping_errors(plan, -flow, 0)
    assert np.mean(right) < 6 and np.mean(wrong) > 2 * np.mean(right)


def test_free_clips_obey_their_flow() -> None:
    right, wrong, still = [], [], []
    for seed in range(12):
        plan = plan_clip(seed, 0.6, 5, n_things=2)
        flow = optical_flow(plan, SIZE)
        for label in range(len(plan.motions) + 1):
            right += warping_errors(plan, flow, label)
            wrong += warping_errors(plan, -flow, label)
            still += warping_errors(plan, np.zeros_like(flow), label)
    assert np.mean(right) < 4 and np.mean(wrong) > 1.5 * np.mean(right) and np.mean(still) > 1.2 * np.mean(right)


def test_flow_of_a_translation_is_the_displacement_of_the_centre() -> None:
    plan = swift("vehicle", 3, Motion(move=(0.12, -0.1), periods=(2, 4, 4)))
    flow, labels = optical_flow(plan, 256), paint_clip_masks(plan, 256)
    for k in range(plan.n_frames - 1):
        shift = 256 * (np.array(plan.centre(0, k + 1)) - plan.centre(0, k))
        pan = 256 * (np.array(plan.window(k)) - plan.window(k + 1))
        for label, wanted in ((1, shift), (0, pan)):
            shown = flow[k][labels[k] == label]
            np.testing.assert_allclose(shown, np.broadcast_to(wanted, shown.shape), atol=1e-3)
        (rows, columns), (rows_next, columns_next) = np.nonzero(labels[k] == 1), np.nonzero(labels[k + 1] == 1)
        seen = (columns_next.mean() - columns.mean(), rows_next.mean() - rows.mean())
        np.testing.assert_allclose(seen, shift, atol=0.6)  # an upright edge jumps by whole pixels
        assert np.abs(np.subtract(seen, -shift)).max() > 0.6  # the broken twin: opposite sign


def test_divergence_and_curl_are_growth_and_turning() -> None:
    """In two dimensions s R(a) - 1 has divergence 2 (s cos a - 1) and curl 2 s sin a."""
    plan = swift("vehicle", 5, Motion(grow=0.3, turn=0.5))
    flow, labels = optical_flow(plan, 64), paint_clip_masks(plan, 64)
    for k in range(plan.n_frames - 1):
        (_, s0, a0), (_, s1, a1) = plan.motions[0].at(k / plan.fps), plan.motions[0].at((k + 1) / plan.fps)
        inside = interior(labels[k], 1)
        du_dx, dv_dy = np.gradient(flow[k, :, :, 0], axis=1)[inside], np.gradient(flow[k, :, :, 1], axis=0)[inside]
        dv_dx, du_dy = np.gradient(flow[k, :, :, 1], axis=1)[inside], np.gradient(flow[k, :, :, 0], axis=0)[inside]
        np.testing.assert_allclose(du_dx + dv_dy, 2 * (s1 / s0 * np.cos(a1 - a0) - 1), atol=1e-4)
        np.testing.assert_allclose(dv_dx - du_dy, 2 * s1 / s0 * np.sin(a1 - a0), atol=1e-4)


def test_shapes_types_and_repeatability() -> None:
    plan = plan_clip(7, seconds=1, fps=6)
    frames, flow, masks = paint_clip(plan, 32), optical_flow(plan, 32), paint_clip_masks(plan, 32)
    assert frames.shape == (6, 32, 32, 3) and frames.dtype == np.uint8
    assert flow.shape == (5, 32, 32, 2) and flow.dtype == np.float32
    assert masks.shape == (6, 32, 32) and masks.max() == len(plan.motions)
    again = plan_clip(7, seconds=1, fps=6)
    np.testing.assert_array_equal(frames, paint_clip(again, 32))
    np.testing.assert_array_equal(flow, optical_flow(again, 32))
    longer = paint_clip(plan_clip(7, seconds=2, fps=6), 32)
    np.testing.assert_array_equal(longer[:6], frames)


def test_motions_vary_and_stillness_is_still() -> None:
    words = {motion.words for seed in range(120) for motion in plan_clip(seed, 1, 2, n_things=2).motions}
    assert {"still", "moving", "growing", "turning"} <= words
    plan = replace(swift("tool", 0, Motion()), pan=(0.0, 0.0))
    frames = paint_clip(plan, 32)
    assert (frames == frames[0]).all() and not optical_flow(plan, 32).any()


def test_things_stay_in_view_and_keep_their_words() -> None:
    for seed in range(20):
        plan = plan_clip(seed, 3, 2, n_things=1)
        assert plan.scene.place is None or plan.scene.place.phrase == plan_scene(seed, n_things=1).place.phrase
        for index in range(len(plan.motions)):
            centres = np.array([plan.centre(index, frame) for frame in range(plan.n_frames)])
            assert (centres > 0.05).all() and (centres < 0.95).all()
            assert plan.scene.layers[index].sketch.phrase == plan_scene(seed, n_things=1).layers[index].sketch.phrase


@pytest.mark.parametrize(("seconds", "fps"), [(0, 8), (0.1, 8), (-1, 8), (1, 0), (1e6, 24)])
def test_impossible_lengths_are_refused(seconds: float, fps: float) -> None:
    with pytest.raises(DataError, match="frames were wanted"):
        plan_clip(0, seconds, fps)


def test_impossible_sizes_are_refused() -> None:
    for make in (paint_clip, optical_flow, paint_clip_masks):
        with pytest.raises(DataError, match="Frame size 8"):
            make(plan_clip(0), 8)
