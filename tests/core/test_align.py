"""Rows meet by stimulus id: any row order is undone, and averages equal those of a slow loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainenc.core.align import align, average_repetitions, rows_of, select_targets, token_grid
from brainenc.core.types import DataError, Features, Responses
from tests.core.strategies import IDS, one_of_each, repeated_samples, spaces

QUICK = settings(max_examples=60, deadline=None)


def features_of(ids: list[str], n_channels: int = 3) -> Features:
    """Row i holds numbers that no other row holds."""
    return Features(np.arange(len(ids) * n_channels, dtype=np.float32).reshape(len(ids), n_channels), ids, "toy")


@QUICK
@given(st.lists(IDS, min_size=1, max_size=10, unique=True), st.data())
def test_align_undoes_any_row_order(ids, data):
    features = features_of(ids)
    order = np.array(data.draw(st.permutations(range(len(ids)))))
    shuffled = Features(features.values[order], features.stimulus_ids[order], "toy")
    wanted = np.array(data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=15)), object)
    assert np.array_equal(align(features, wanted), align(shuffled, wanted))


@QUICK
@given(st.lists(IDS, min_size=1, max_size=10, unique=True), st.data())
def test_align_gives_each_sample_the_row_of_its_stimulus(ids, data):
    features = features_of(ids)
    wanted = np.array(data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=15)), object)
    for row, stimulus in zip(align(features, wanted), wanted, strict=True):
        assert np.array_equal(row, features.values[ids.index(stimulus)])


def test_the_order_test_sees_rows_matched_by_position():
    ids, wanted = ["a", "b", "c"], np.array(["c", "a", "b"], object)
    by_position = features_of(ids).matrix[: len(wanted)]
    assert not np.array_equal(by_position, align(features_of(ids), wanted))


def test_align_flattens_tokens_in_c_order():
    values = np.arange(24, dtype=float).reshape(2, 3, 4)
    X = align(Features(values, ["a", "b"], "tokens"), np.array(["b", "a"], object))
    assert X.shape == (2, 12)
    assert np.array_equal(X[0], values[1].ravel())


def test_align_takes_every_sort_of_string_array():
    for wanted in (np.array(["b", "a"]), np.array(["b", "a"], object), ["b", "a"]):
        assert np.array_equal(align(features_of(["a", "b"]), wanted), features_of(["a", "b"]).values[::-1])


def test_align_leaves_its_inputs_alone():
    features = features_of(["a", "b"])
    before = features.values.copy()
    align(features, np.array(["a", "a"], object))[:] = -1
    assert np.array_equal(features.values, before)


def test_a_stimulus_without_features_is_named():
    with pytest.raises(DataError, match=r"Features 'toy' has no row for stimulus 'x' \(2 stimuli missing\)"):
        align(features_of(["a"]), np.array(["a", "x", "y", "x"], object))


def test_zero_padded_ids_are_not_numbers():
    with pytest.raises(DataError, match="'1'"):
        rows_of(np.array(["1"], object), np.array(["001", "01"], object), "table")


def slow_average(values: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, list[str], list[int]]:
    """The obvious loop: for each stimulus and target, the mean of the numbers that are not NaN."""
    order = list(dict.fromkeys(ids))
    means = np.full((len(order), values.shape[1]), np.nan)
    counts = []
    for i, stimulus in enumerate(order):
        rows = [row for row, shown in zip(values, ids, strict=True) if shown == stimulus]
        counts.append(sum(any(not np.isnan(v) for v in row) for row in rows))
        for j in range(values.shape[1]):
            measured = [float(row[j]) for row in rows if not np.isnan(row[j])]
            if measured:
                means[i, j] = sum(measured) / len(measured)
    return means, order, counts


def agrees(found: tuple[np.ndarray, np.ndarray, np.ndarray], values: np.ndarray, ids: np.ndarray) -> bool:
    """True if means, ids and counts are those of the slow loop."""
    means, order, counts = slow_average(values, ids)
    close = found[0].shape == means.shape and np.allclose(found[0], means, rtol=1e-5, atol=1e-4, equal_nan=True)
    return close and list(found[1]) == order and list(found[2]) == counts


@QUICK
@given(repeated_samples())
def test_averages_equal_the_slow_loop(samples):
    values, ids = samples
    before = values.copy()
    found = average_repetitions(values, ids)
    assert agrees(found, values, ids)
    assert found[0].dtype == values.dtype
    assert np.array_equal(values, before, equal_nan=True)


def test_the_oracle_refuses_averages_that_count_nan_as_zero():
    values, ids = np.array([[1.0, 2.0], [np.nan, 4.0], [5.0, 6.0]]), np.array(["a", "a", "b"], object)
    zeros = np.nan_to_num(values)
    broken = np.stack([zeros[:2].mean(axis=0), zeros[2]]), np.array(["a", "b"], object), np.array([2, 1])
    assert agrees(average_repetitions(values, ids), values, ids)
    assert not agrees(broken, values, ids)


@QUICK
@given(repeated_samples())
def test_averaging_twice_changes_nothing(samples):
    means, ids, _ = average_repetitions(*samples)
    again, same, counts = average_repetitions(means, ids)
    assert np.array_equal(again, means, equal_nan=True)
    assert list(same) == list(ids)
    assert (counts <= 1).all()


def test_integers_are_averaged_as_numbers():
    means, _, _ = average_repetitions(np.array([[1], [2]]), np.array(["a", "a"], object))
    assert means[0, 0] == 1.5


def test_no_rows_average_to_no_rows():
    means, ids, counts = average_repetitions(np.empty((0, 3)), np.empty(0, object))
    assert means.shape == (0, 3) and len(ids) == len(counts) == 0


@pytest.mark.parametrize(
    "values, ids",
    [
        (np.ones((3, 2)), ["a", "b"]),
        (np.ones((1, 2)), ["a", "b"]),
        (np.ones(2), ["a", "b"]),
        (np.ones((2, 2)), ["a", None]),
    ],
)
def test_rows_without_an_id_are_not_averaged(values, ids):
    with pytest.raises(DataError, match="average_repetitions"):
        average_repetitions(values, np.array(ids, object))


@QUICK
@given(spaces(), st.data())
def test_values_and_space_are_selected_together(space, data):
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=space.n_targets, max_size=space.n_targets).filter(any)))
    values = np.arange(2 * space.n_targets, dtype=np.float32).reshape(2, -1)
    some = select_targets(Responses(values, ["a", "a"], space, "z", tr=2.0), mask)
    assert (some.units, some.tr, list(some.stimulus_ids)) == ("z", 2.0, ["a", "a"])
    assert some.space == space.select(mask)
    assert np.array_equal(some.values, values[:, mask])


@pytest.mark.parametrize("space", one_of_each().values(), ids=one_of_each())
def test_a_mask_of_numbers_selects_nothing(space):
    responses = Responses(np.ones((1, space.n_targets)), ["a"], space, "z")
    with pytest.raises(DataError, match="boolean mask"):
        select_targets(responses, np.ones(space.n_targets, int))


def test_token_grid_brings_maps_into_the_order_of_the_samples():
    values = np.arange(3 * 2 * 3 * 5, dtype=np.float32).reshape(3, 2, 3, 5)
    ids = np.array(["a", "b", "c"], object)
    np.testing.assert_array_equal(token_grid(Features(values, ids, "f"), np.array(["c", "a"], object)), values[[2, 0]])
    square = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)
    grid = token_grid(Features(square, ids, "f"), ids)
    assert grid.shape == (3, 2, 2, 5)
    np.testing.assert_array_equal(grid[1, 1, 0], square[1, 2])  # row-major: token 2 of 2 x 2 is the left of row 1


@pytest.mark.parametrize("shape", [(3, 5), (3, 6, 5), (3, 2, 2, 2, 5)])
def test_token_grid_refuses_what_has_no_rows_and_columns(shape):
    features = Features(np.ones(shape, np.float32), np.array(["a", "b", "c"], object), "f")
    with pytest.raises(DataError, match="pooling 'tokens'"):
        token_grid(features, np.array(["a"], object))
