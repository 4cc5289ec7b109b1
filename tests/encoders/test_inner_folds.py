"""Inner folds: groups stay whole, every row is validated once, sizes are balanced."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainenc.core.types import DataError
from brainenc.encoders.folds import inner_folds


@given(st.lists(st.integers(0, 11), min_size=4, max_size=60).filter(lambda g: len(set(g)) > 1), st.integers(2, 6))
@settings(max_examples=60, deadline=None)
def test_groups_stay_whole_and_rows_are_validated_once(groups, n_folds):
    groups = np.array(groups)
    folds = inner_folds(len(groups), groups, n_folds)
    assert len(folds) == min(n_folds, len(set(groups.tolist())))
    assert np.array_equal(np.sort(np.concatenate([validation for _, validation in folds])), np.arange(len(groups)))
    for train, validation in folds:
        assert len(train) and len(validation)
        assert not set(groups[train]) & set(groups[validation])
        assert len(train) + len(validation) == len(groups)


def test_few_groups_are_left_out_one_by_one_and_many_are_balanced():
    folds = inner_folds(6, ["b", "b", "a", "a", "c", "c"], 5)
    assert sorted(validation.tolist() for _, validation in folds) == [[0, 1], [2, 3], [4, 5]]
    sizes = [len(validation) for _, validation in inner_folds(100, np.repeat(np.arange(20), 5), 5)]
    assert sizes == [20] * 5


def test_without_groups_folds_are_contiguous():
    for _, validation in inner_folds(23, None, 5):
        assert np.array_equal(validation, np.arange(validation[0], validation[-1] + 1))


@pytest.mark.parametrize(
    ("n", "groups", "words"),
    [(4, [1, 1, 1, 1], "two or more"), (4, [1, 2], "one label per row"), (5, None, "lower n_folds")],
)
def test_impossible_folds_are_refused(n, groups, words):
    with pytest.raises(DataError, match=words):
        inner_folds(n, groups, 5)


def test_missing_labels_are_refused():
    with pytest.raises(DataError, match="every row a label"):
        inner_folds(4, [1.0, 1.0, np.nan, 2.0], 2)
