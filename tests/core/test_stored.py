"""Matrices on disk read and write like arrays; averaged rows equal the averages; files are those of safetensors."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file, save_file

from brainenc.core import storage
from brainenc.core.align import AveragedRows, average_repetitions
from brainenc.core.stored import Hdf5Matrix, Matrix, scratch
from brainenc.core.types import DataError
from tests.core.strategies import NAMES, repeated_samples

QUICK = settings(max_examples=60, deadline=None)
DTYPES = ("?", "i1", "u1", "i2", "u2", "f2", "i4", "u4", "f4", "c8", "i8", "u8", "f8")


def numbers(shape: tuple[int, ...], dtype: str = "f4") -> np.ndarray:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


def plain(folder: Path, values: np.ndarray) -> Matrix:
    matrix = scratch(folder / "x", values.shape, values.dtype)
    matrix[:, :] = values
    return matrix


def in_hdf5(folder: Path, values: np.ndarray) -> Matrix:
    rows, columns = values.shape
    with h5py.File(folder / "x.h5", "w") as file:
        chunks = (min(2, rows), min(3, columns)) if values.size else None
        file.create_dataset("values", data=values, chunks=chunks)
    return Hdf5Matrix(h5py.File(folder / "x.h5", "r")["values"], folder / "x.h5")


def turned_round(folder: Path, values: np.ndarray) -> Matrix:
    """The same matrix, read as selected rows of its mirror image."""
    return in_hdf5(folder, values[::-1]).rows(np.arange(len(values))[::-1])


MAKERS = [plain, in_hdf5, turned_round]


@st.composite
def shapes_and_keys(draw: st.DrawFn) -> tuple[tuple[int, int], Any, slice]:
    n_rows, n_columns = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    start, stop = (draw(st.none() | st.integers(-n_columns - 1, n_columns + 1)) for _ in range(2))
    rows = draw(
        st.just(slice(None))
        | st.slices(n_rows)
        | st.lists(st.integers(-n_rows, n_rows - 1), max_size=8).map(lambda rows: np.array(rows, int))
        | hnp.arrays(bool, n_rows)
    )
    return (n_rows, n_columns), rows, slice(start, stop)


@pytest.mark.parametrize("make", MAKERS)
@QUICK
@given(case=shapes_and_keys())
def test_blocks_are_those_of_the_array(tmp_path_factory, make, case):
    shape, rows, columns = case
    values = numbers(shape)
    matrix = make(tmp_path_factory.mktemp("m"), values)
    assert (matrix.shape, matrix.dtype, matrix.ndim, len(matrix)) == (values.shape, values.dtype, 2, shape[0])
    np.testing.assert_array_equal(matrix[rows, columns], values[rows][:, columns])
    np.testing.assert_array_equal(matrix[rows], values[rows])
    np.testing.assert_array_equal(np.asarray(matrix), values)
    np.testing.assert_array_equal(np.asarray(matrix.rows(rows)), values[rows])
    backwards = matrix.rows(rows).rows(slice(None, None, -1))
    np.testing.assert_array_equal(backwards[:, columns], values[rows][::-1, columns])


@QUICK
@given(case=shapes_and_keys(), dtype=st.sampled_from(DTYPES))
def test_written_blocks_are_those_of_the_array(tmp_path_factory, case, dtype):
    shape, rows, columns = case
    if isinstance(rows, np.ndarray) and rows.dtype != bool:
        rows = np.unique(rows % shape[0])  # which of two values a repeated row keeps is nobody's promise
    values, matrix = np.zeros(shape, dtype), scratch(tmp_path_factory.mktemp("m") / "x", shape, dtype)
    block = 1 + numbers(values[rows][:, columns].shape, dtype)
    place = np.arange(shape[0])[rows]
    values[place[:, None], np.arange(shape[1])[columns]] = block
    matrix[rows, columns] = block
    np.testing.assert_array_equal(np.asarray(matrix), values)
    matrix[rows, columns] = 1
    values[place[:, None], np.arange(shape[1])[columns]] = 1
    np.testing.assert_array_equal(np.asarray(matrix), values)


def test_only_blocks_of_neighbouring_columns_are_given(tmp_path):
    matrix = plain(tmp_path, numbers((3, 4)))
    for key in [(slice(None), [0, 2]), (slice(None), slice(None, None, 2)), 1, (1, slice(None)), (slice(None), 1)]:
        with pytest.raises(DataError, match="read a block of columns"):
            matrix[key]
    with pytest.raises(ValueError, match="always a copy"):
        np.array(matrix, copy=False)
    with pytest.raises(ValueError):
        matrix[:, :2] = np.ones((2, 2))


def test_scratch_leaves_no_file_and_no_open_descriptor(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    matrix = plain(tmp_path, numbers((3, 4)))
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del matrix
    assert len(os.listdir("/proc/self/fd")) == before


# ------------------------------------------------------------------------------------------------------- averages


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)


@QUICK
@given(case=repeated_samples(), data=st.data())
def test_averaged_rows_are_the_averages(tmp_path_factory, case, data):
    values, ids = case
    means, names, _ = average_repetitions(values, ids)
    averaged = AveragedRows(in_hdf5(tmp_path_factory.mktemp("m"), values), ids)
    assert averaged.stimulus_ids.tolist() == names.tolist()
    assert averaged.n_repetitions.tolist() == [list(ids).count(name) for name in names]
    assert averaged.shape == means.shape
    assert same_bits(np.asarray(averaged), means)
    rows = np.array(data.draw(st.lists(st.integers(0, len(names) - 1), max_size=6)), int)
    start = data.draw(st.integers(0, means.shape[1]))
    assert same_bits(averaged.rows(rows)[:, start:], means[rows, start:])


def test_averages_of_wide_blocks_are_the_averages(tmp_path):
    generator = np.random.default_rng(0)
    values = generator.normal(size=(12, 1500)).astype(np.float32)
    values[generator.random(values.shape) < 0.2] = np.nan
    ids = np.array([f"s{i % 5}" for i in range(12)], object)
    averaged, (means, _, _) = AveragedRows(in_hdf5(tmp_path, values), ids), average_repetitions(values, ids)
    assert same_bits(np.asarray(averaged), means)
    assert same_bits(averaged[[4, 0], 700:1300], means[[4, 0], 700:1300])
    zeros = AveragedRows(plain(tmp_path, np.nan_to_num(values)), ids)  # the broken twin: NaN counted as 0
    assert not same_bits(np.asarray(zeros), means)


# ---------------------------------------------------------------------------------------------------- safetensors


@QUICK
@given(
    arrays=st.dictionaries(
        NAMES,
        st.sampled_from(DTYPES).flatmap(
            lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
        ),
        min_size=1,  # of no arrays at all, safetensors 0.8 writes a header that nobody can read
        max_size=5,
    ),
    notes=st.dictionaries(NAMES, NAMES, max_size=2),
)
def test_bytes_are_those_of_safetensors(tmp_path_factory, arrays, notes):
    folder = tmp_path_factory.mktemp("t")
    metadata = {"brainenc": json.dumps(notes, sort_keys=True)} if notes else {}
    save_file(arrays, folder / "theirs", metadata=metadata)
    storage.save_arrays(folder / "ours", arrays, notes)
    assert (folder / "ours").read_bytes() == (folder / "theirs").read_bytes()
    opened = storage.open_arrays(folder / "ours")
    assert opened.keys() == arrays.keys()
    for name, array in arrays.items():
        assert isinstance(opened[name], Matrix) == (array.ndim == 2 and array.dtype.kind == "f")
        assert np.asarray(opened[name]).tobytes() == array.tobytes()
        assert opened[name].dtype == array.dtype


def test_a_file_filled_block_by_block_is_the_file_saved_whole(tmp_path):
    values, vector = numbers((5, 7)), numbers((3,), "i8")
    storage.save_arrays(tmp_path / "whole", {"m": values, "v": vector}, {"a": "b"})
    with storage.arrays_writer(tmp_path / "f", {"m": ((5, 7), "f4"), "v": ((3,), "i8")}, {"a": "b"}) as places:
        assert list(places) == ["m", "v"]  # as asked for, not as they lie in the file
        places["v"][:] = vector
        places["m"][[0, 2, 4], 3:] = values[[0, 2, 4], 3:]
        places["m"][[1, 3], 3:] = values[[1, 3], 3:]
        places["m"][:, :3] = values[:, :3]
        assert not (tmp_path / "f").exists()
    assert (tmp_path / "f").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_matrix_on_disk_is_saved_like_an_array(tmp_path):
    values = numbers((5, 7))
    storage.save_arrays(tmp_path / "a", {"m": values, "n": values[:1]})
    storage.save_arrays(tmp_path / "b", {"m": plain(tmp_path, values), "n": in_hdf5(tmp_path, values).rows([0])})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    np.testing.assert_array_equal(load_file(tmp_path / "b")["m"], values)


def test_a_failed_writer_leaves_nothing_and_keeps_the_previous_file(tmp_path):
    (tmp_path / "f").write_bytes(b"previous")
    with pytest.raises(ZeroDivisionError), storage.arrays_writer(tmp_path / "f", {"m": ((5, 7), "f4")}) as places:
        places["m"][:, :2] = 1
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"previous"


def test_a_file_that_shrinks_after_it_was_opened_is_refused(tmp_path):
    storage.save_arrays(tmp_path / "f", {"m": numbers((5, 7))})
    matrix = storage.open_arrays(tmp_path / "f")["m"]
    os.truncate(tmp_path / "f", 100)
    with pytest.raises(DataError, match="bytes too early"):
        np.asarray(matrix)
