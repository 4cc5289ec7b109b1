from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainenc.core.types import DataError
from brainenc.stats import splits
from brainenc.stats.cleaning import row_digests


def _table(n=10):
    roles = ["train"] * (n - 4) + ["validation"] * 2 + ["test"] * 2
    return pd.DataFrame({"split": roles}, index=pd.Index([f"s{i}" for i in range(n)], name="stimulus_id"))


def test_by_column_counts_validation_as_told():
    ids = np.tile(_table().index, 3)
    joined = splits.by_column(_table(), ids)
    (train, test), *rest = joined.folds()
    assert not rest and set(ids[test]) == {"s8", "s9"} and set(ids[train]) == {f"s{i}" for i in range(8)}
    apart = splits.by_column(_table(), ids, validation="exclude")
    (train, test), *_ = apart.folds()
    assert set(ids[train]) == {f"s{i}" for i in range(6)} and (apart.test_fold == -2).sum() == 6
    assert pd.Series(joined.group).groupby(ids).nunique().eq(1).all()


@pytest.mark.parametrize(
    ("change", "arguments", "text"),
    [
        (lambda t: t.drop(columns="split"), {}, "no column 'split'"),
        (lambda t: t.assign(split="Train"), {}, "holds 'Train'"),
        (lambda t: t.assign(split=[None, *t["split"][1:]]), {}, "holds "),
        (lambda t: t.drop(index="s3"), {}, "1 stimuli are not in the stimulus table \\('s3'\\)"),
        (lambda t: t.assign(split="train"), {}, "none of the 10 samples is tested"),
        (lambda t: t.assign(split="test"), {}, "no training samples"),
        (lambda t: t, {"validation": "both"}, "'train' or 'exclude'"),
    ],
)
def test_by_column_refuses(change, arguments, text):
    with pytest.raises(DataError, match=text):
        splits.by_column(change(_table()), np.asarray(_table().index), **arguments)


@given(
    ids=st.lists(st.sampled_from("abcdefghij"), min_size=4, max_size=60).filter(lambda x: len(set(x)) >= 3),
    seed=st.integers(0, 1000),
    n_folds=st.integers(2, 3),
    share=st.floats(0.1, 0.6),
)
@settings(max_examples=60, deadline=None)
def test_repetitions_never_straddle(ids, seed, n_folds, share):
    ids = np.array(ids)
    for split in (splits.by_stimulus(ids, n_folds=n_folds, seed=seed), splits.by_stimulus(ids, share, seed=seed)):
        tested = []
        for train, test in split.folds():
            assert train.size and test.size and not set(ids[train]) & set(ids[test])
            assert np.intersect1d(train, test).size == 0
            tested.extend(test)
        assert len(tested) == len(set(tested))
        assert pd.Series(split.group).groupby(ids).nunique().eq(1).all()
    assert len(tested) > 0
    again = splits.by_stimulus(ids, n_folds=n_folds, seed=seed)
    assert np.array_equal(again.test_fold, splits.by_stimulus(ids, n_folds=n_folds, seed=seed).test_fold)


def test_every_stimulus_is_tested_once_in_folds_of_equal_size():
    ids = np.repeat(np.arange(23).astype(str), 2)
    split = splits.by_stimulus(ids, n_folds=5, seed=4)
    sizes = [np.unique(ids[test]).size for _, test in split.folds()]
    assert sum(sizes) == 23 and max(sizes) - min(sizes) <= 1
    assert not np.array_equal(split.test_fold, splits.by_stimulus(ids, n_folds=5, seed=5).test_fold)
    held_out = splits.by_stimulus(ids, test_share=0.2, seed=4)
    assert np.unique(ids[held_out.test_fold == 0]).size == 5


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "exactly one"),
        ({"test_share": 0.2, "n_folds": 3}, "exactly one"),
        ({"test_share": 1.5}, "between 0 and 1"),
        ({"n_folds": 9}, "choose from 2 to 4"),
        ({"n_folds": 1}, "n_folds is 1"),
    ],
)
def test_by_stimulus_refuses(arguments, text):
    with pytest.raises(DataError, match=text):
        splits.by_stimulus(list("abcdabcd"), **arguments)


def test_by_run_leaves_runs_out_and_wants_recurrence_declared():
    runs = np.repeat([3, 1, 2], 8)
    conditions = np.tile(list("abcdefgh"), 3)
    with pytest.raises(DataError, match="8 stimuli are in both training and test of fold 0 .*stimuli_recur"):
        splits.by_run(runs, conditions)
    split = splits.by_run(runs, conditions, stimuli_recur=True)
    assert split.n_folds == 3 and split.stimuli_recur and split.unit == "run"
    for train, test in split.folds():
        assert np.unique(runs[test]).size == 1 and not set(runs[test]) & set(runs[train])
    assert np.unique(split.group).size == 3
    unique = splits.by_run(runs, np.arange(24).astype(str), n_folds=2, seed=1)
    assert unique.n_folds == 2 and not unique.stimuli_recur
    with pytest.raises(DataError, match="one run"):
        splits.by_run(np.zeros(24, int), conditions)


@pytest.mark.parametrize("n_purged", [1, 3])
def test_purging_drops_exactly_the_neighbours(n_purged):
    runs = np.repeat(np.arange(4), 10)
    ids = np.arange(40).astype(str)
    split = splits.by_run(runs, ids, n_purged=n_purged)
    for train, test in split.folds():
        distance = np.abs(train[:, None] - test[None]).min(axis=1)
        assert distance.min() == n_purged + 1
        borders = int(test.min() > 0) + int(test.max() < 39)
        assert train.size == 30 - borders * n_purged
    with pytest.raises(DataError, match="no training samples"):
        splits.by_run(runs, ids, n_purged=40)


# --- the guard: each leak is planted and must be refused ------------------------------------------------------------
def test_guard_refuses_repetitions_dealt_over_train_and_test():
    """Broken twin of by_stimulus: the trials are dealt, not the stimuli."""
    ids = np.repeat([f"image{i}" for i in range(50)], 3)
    good = splits.by_stimulus(ids, n_folds=5, seed=0)
    assert splits.check_split(good, ids) is good
    dealt = splits.Split(np.random.default_rng(0).permutation(150) % 5, good.group)
    with pytest.raises(DataError, match=r"\d+ stimuli are in both training and test of fold 0 \('image.*split by stim"):
        splits.check_split(dealt, ids)


def test_guard_refuses_repetitions_in_two_inner_groups():
    ids = np.repeat(list("abcdef"), 2)
    good = splits.by_stimulus(ids, test_share=0.3)
    with pytest.raises(DataError, match="more than one inner group"):
        splits.check_split(splits.Split(good.test_fold, np.arange(12)), ids)


def test_guard_refuses_torn_runs():
    ids = np.arange(12).astype(str)
    split = splits.by_stimulus(ids, n_folds=3)
    with pytest.raises(DataError, match="runs are in both"):
        splits.check_split(split, ids, runs=np.repeat([0, 1], 6))


def test_guard_finds_a_duplicate_under_another_name():
    rng = np.random.default_rng(0)
    responses = rng.standard_normal((30, 6))
    ids = np.array([f"s{i}" for i in range(30)])
    split = splits.by_stimulus(ids, test_share=0.3, seed=2)
    assert splits.check_split(split, ids, contents=row_digests(responses)) is split
    train, test = next(split.folds())
    leaked = responses.copy()
    leaked[train[:3]] = leaked[test[:3]]
    with pytest.raises(DataError, match="3 contents of test samples of fold 0 are also in training"):
        splits.check_split(split, ids, contents=row_digests(leaked))
    leaked[:] = np.nan  # lost trials are not duplicates of each other
    assert splits.check_split(split, ids, contents=row_digests(leaked)) is split


# --- the record -----------------------------------------------------------------------------------------------------
def test_table_round_trip_and_digest():
    ids = np.arange(40).astype(str)
    split = splits.by_run(np.repeat(np.arange(4), 10), ids, n_purged=2)
    back = splits.from_table(split.to_table(ids), unit="run")
    for name in ("test_fold", "group", "dropped"):
        assert np.array_equal(getattr(back, name), getattr(split, name))
    assert back.digest(ids) == split.digest(ids) and len(split.digest(ids)) == 64
    assert split.digest(ids[::-1]) != split.digest(ids)
    assert splits.by_run(np.repeat(np.arange(4), 10), ids).digest(ids) != split.digest(ids)
    with pytest.raises(DataError, match="lacks the columns"):
        splits.from_table(pd.DataFrame({"group": [1]}))


@pytest.mark.parametrize(
    ("test_fold", "group", "text"),
    [
        ([0, 1], [0], "one of each per sample"),
        ([0.0, 1.0], [0, 1], "must be integers"),
        ([0, 2, -1], [0, 1, 2], "without gaps"),
        ([0, -3], [0, 1], "at least -2"),
    ],
)
def test_malformed_splits_are_refused(test_fold, group, text):
    with pytest.raises(DataError, match=text):
        splits.Split(np.array(test_fold), np.array(group))


def test_missing_ids_are_refused():
    with pytest.raises(DataError, match="missing for 1 of 3 samples"):
        splits.by_stimulus(np.array(["a", None, "b"], dtype=object), n_folds=2)
