"""What is written is what is read: features, responses, maps, masks, tables, arrays, JSON."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainenc.core import storage
from brainenc.core.spaces import ParcelSpace
from brainenc.core.types import DataError, Features, Responses, StimulusSet, TargetMap
from tests.core.strategies import IDS, KINDS, NAMES, one_of_each, spaces

QUICK = settings(max_examples=40, deadline=None)
ODD_NAMES = (
    "V2",
    "V1",
    "a/b",
    "/root",
    "x|y",
    "50%",
    "%2F",
    ".",
    "..",
    "./V1",
    "Größe",
    "fusiform face area (FFA-1)",
    " ",
)


def fresh(name: str) -> Path:
    """A path in a folder of its own, so that Hypothesis examples do not meet."""
    return Path(tempfile.mkdtemp(prefix="brainenc-test-")) / name


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of `fresh` lie below the test's own folder, which pytest removes."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


# -------------------------------------------------------------------------------------------------------- features


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("axes", [(), (7,), (2, 3)], ids=str)
def test_features_return(tmp_path, dtype, axes):
    values = np.random.default_rng(0).normal(size=(5, *axes, 4)).astype(dtype)
    storage.save_features(tmp_path / "f.h5", Features(values, list("edcba"), "clip b11/ü"))
    found = storage.load_features(tmp_path / "f.h5")
    assert found.values.dtype == dtype and np.array_equal(found.values, values)
    assert (list(found.stimulus_ids), found.name) == (list("edcba"), "clip b11/ü")


@QUICK
@given(st.lists(IDS, min_size=1, max_size=8, unique=True), st.lists(st.integers(0, 3), max_size=8))
def test_features_streamed_in_any_batches_equal_features_saved_at_once(ids, sizes):
    values = np.random.default_rng(0).normal(size=(len(ids), 2, 3)).astype(np.float32)
    path = fresh("f.h5")
    edges = np.minimum(np.cumsum([0, *sizes, len(ids)]), len(ids))
    with storage.features_writer(path, np.array(ids, object), "f") as write:
        for start, stop in zip(edges[:-1], edges[1:], strict=True):
            write(values[start:stop])
    found = storage.load_features(path)
    assert np.array_equal(found.values, values) and list(found.stimulus_ids) == ids


def batches(*shapes: tuple[int, ...], dtype: Any = np.float32) -> list[np.ndarray]:
    return [np.ones(shape, dtype) for shape in shapes]


@pytest.mark.parametrize(
    "given_batches, message",
    [
        (batches((2, 3)), "2 rows were extracted for 3 stimuli"),
        ([], "0 rows were extracted for 3 stimuli"),
        (batches((2, 3), (2, 3)), "row 4 was extracted for 3 stimuli"),
        (batches((2, 3), (1, 1)), r"shape \(1, 1\).*make all batches alike"),
        (batches((2, 3), (1, 3, 3)), r"shape \(1, 3, 3\)"),
        (batches((2, 3)) + batches((1, 3), dtype=np.float64), "float64"),
        (batches((3, 3), dtype=int), "int64"),
        (batches((3,)), r"shape \(3,\)"),
        (batches((3, 0)), r"shape \(3, 0\)"),
        (batches((2, 3)) + [np.full((1, 3), np.inf, np.float32)], "stimulus 'c' gives NaN or infinity"),
    ],
)
def test_batches_that_do_not_make_features_are_refused(tmp_path, given_batches, message):
    with (
        pytest.raises(DataError, match=message),
        storage.features_writer(tmp_path / "f.h5", np.array(list("abc"), object), "f") as write,
    ):
        for batch in given_batches:
            write(batch)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ids, message", [([], "no stimulus"), (["a", "a"], "'a' several times"), (["a", 1], "is 1")])
def test_ids_are_checked_before_anything_is_extracted(tmp_path, ids, message):
    with (
        pytest.raises(DataError, match=message),
        storage.features_writer(tmp_path / "f.h5", np.array(ids, object), "f"),
    ):
        pytest.fail("extraction began")


# ------------------------------------------------------------------------------------------------------- responses


def samples_table(n: int) -> pd.DataFrame:
    """Columns of every sort that a samples table holds."""
    return pd.DataFrame(
        {
            "run": np.arange(n) // 2,
            "session": [f"{i:03d}" for i in range(n)],
            "onset": np.linspace(0, 1, n) + 1 / 3,
            "short": np.arange(n, dtype=np.int16),
            "single": np.linspace(0, 1, n, dtype=np.float32),
            "catch": np.arange(n) % 2 == 0,
            "rating": np.where(np.arange(n) % 2, np.nan, 0.5),
            "task/name %": ["Gesicht ü" if i % 2 else None for i in range(n)],
            "phase": pd.Categorical(["rest" if i % 2 else "task" for i in range(n)]),
            "button": pd.array([None if i % 2 else i for i in range(n)], dtype="Int64"),
        },
        index=range(100, 100 + n),
    )


def same_cells(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Equal names in order, equal values, equal places of missing values."""
    if list(one.columns) != list(other.columns) or len(one) != len(other):
        return False
    for name in one.columns:
        left, right = one[name].astype(object).to_numpy(), other[name].astype(object).to_numpy()
        gone = pd.isna(left)
        if (gone != pd.isna(right)).any() or any(a != b for a, b in zip(left[~gone], right[~gone], strict=True)):
            return False
    return True


def test_the_check_of_cells_sees_every_difference():
    table = pd.DataFrame({"a": ["001", None], "b": [1, 2]})
    assert same_cells(table, table.copy())
    for other in (
        table.assign(a=[1, None]),
        table.assign(a=["001", "n/a"]),
        table.assign(b=[1, 3]),
        table[["b", "a"]],
        table[:1],
    ):
        assert not same_cells(table, other)


@pytest.mark.parametrize("kind", KINDS)
def test_responses_return_in_every_space(tmp_path, kind):
    space, ids = one_of_each()[kind], ["b", "a", "b", "001", "c", "c"]
    values = np.random.default_rng(0).normal(size=(6, space.n_targets)).astype(np.float32)
    values[2, 1] = np.nan
    table = samples_table(6)
    storage.save_responses(tmp_path / "r.h5", Responses(values, ids, space, "percent signal change", table, 1.6))
    found = storage.load_responses(tmp_path / "r.h5")
    assert found.space == space and type(found.space) is type(space)
    assert np.array_equal(found.values, values, equal_nan=True) and found.values.dtype == np.float32
    assert (list(found.stimulus_ids), found.units, found.tr) == (ids, "percent signal change", 1.6)
    assert found.samples is not None and same_cells(found.samples, table)
    for name in ("run", "onset", "short", "single", "catch", "rating"):
        assert found.samples[name].dtype == table[name].dtype


def test_responses_need_neither_samples_nor_tr(tmp_path):
    space = one_of_each()["parcel"]
    storage.save_responses(tmp_path / "r.h5", Responses(np.ones((2, 4)), ["a", "b"], space, "z"))
    found = storage.load_responses(tmp_path / "r.h5")
    assert found.samples is None and found.tr is None


def test_a_samples_table_without_columns_keeps_its_rows(tmp_path):
    space = one_of_each()["parcel"]
    bare = pd.DataFrame(index=range(2))
    storage.save_responses(tmp_path / "r.h5", Responses(np.ones((2, 4)), ["a", "b"], space, "z", bare))
    assert storage.load_responses(tmp_path / "r.h5").samples.shape == (2, 0)


def test_a_samples_table_with_a_column_twice_is_refused(tmp_path):
    twice = pd.DataFrame([[1, 2]], columns=["run", "run"])
    with pytest.raises(DataError, match="column 'run' occurs twice"):
        storage.save_responses(
            tmp_path / "r.h5", Responses(np.ones((1, 4)), ["a"], one_of_each()["parcel"], "z", twice)
        )
    assert list(tmp_path.iterdir()) == []


def test_responses_on_disk_are_copied_in_blocks(tmp_path):
    space = ParcelSpace(tuple(f"p{i}" for i in range(3)))
    values = np.random.default_rng(0).normal(size=(700, 3)).astype(np.float32)
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["raw"] = values
    with h5py.File(tmp_path / "raw.h5", "r") as file:
        responses = Responses(file["raw"], [f"s{i}" for i in range(700)], space, "z")
        storage.save_responses(tmp_path / "r.h5", responses)
    assert np.array_equal(storage.load_responses(tmp_path / "r.h5").values, values)


@QUICK
@given(spaces(), st.lists(IDS, min_size=1, max_size=5))
def test_any_space_and_any_ids_return(space, ids):
    path = fresh("r.h5")
    values = np.arange(len(ids) * space.n_targets, dtype=np.float32).reshape(len(ids), -1)
    storage.save_responses(path, Responses(values, ids, space, "z"))
    found = storage.load_responses(path)
    assert found.space == space and list(found.stimulus_ids) == ids and np.array_equal(found.values, values)


# -------------------------------------------------------------------------------------------------- maps and masks


@pytest.mark.parametrize("kind", KINDS)
def test_maps_return_in_order(tmp_path, kind):
    space = one_of_each()[kind]
    values = np.array([0.5, np.nan, -1.0, 0.0])
    maps = {
        name: TargetMap((values + i).astype(dtype), space, f"quantity {i}", "fraction of variance" if i else "")
        for i, (name, dtype) in enumerate(zip(ODD_NAMES, ["float32", "float64"] * 9, strict=False))
    }
    storage.save_maps(tmp_path / "m.h5", maps)
    found = storage.load_maps(tmp_path / "m.h5")
    assert list(found) == list(maps)
    for name, target_map in maps.items():
        back = found[name]
        assert np.array_equal(back.values, target_map.values, equal_nan=True)
        assert back.values.dtype == target_map.values.dtype and back.space == space
        assert (back.quantity, back.unit) == (target_map.quantity, target_map.unit)


def test_maps_of_two_spaces_do_not_share_a_file(tmp_path):
    two = {
        "a": TargetMap(np.ones(4), one_of_each()["voxel"], "r2"),
        "b": TargetMap(np.ones(4), one_of_each()["parcel"], "r2"),
    }
    for maps in (two, {}):
        with pytest.raises(DataError, match=f"got {len(maps)} maps to save"):
            storage.save_maps(tmp_path / "m.h5", maps)


@QUICK
@given(st.lists(NAMES | st.sampled_from(ODD_NAMES), max_size=12, unique=True), st.data())
def test_masks_return_in_order_whatever_their_names(names, data):
    path, space = fresh("m.h5"), one_of_each()["vertex"]
    masks = {name: np.array(data.draw(st.lists(st.booleans(), min_size=4, max_size=4))) for name in names}
    storage.save_masks(path, masks, space)
    found = storage.load_masks(path)
    assert list(found) == names
    assert all(found[name].dtype == bool and np.array_equal(found[name], masks[name]) for name in names)


def test_hundreds_of_masks_keep_their_order(tmp_path):
    names = [f"parcel {i}" for i in np.random.default_rng(0).permutation(400)]
    storage.save_masks(tmp_path / "m.h5", dict.fromkeys(names, np.ones(4, bool)), one_of_each()["voxel"])
    assert list(storage.load_masks(tmp_path / "m.h5")) == names


@pytest.mark.parametrize("name", ["", "V1\0"])
def test_names_that_hdf5_would_cut_are_refused(tmp_path, name):
    with pytest.raises(DataError, match="cannot be stored"):
        storage.save_masks(tmp_path / "m.h5", {name: np.ones(4, bool)}, one_of_each()["voxel"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mask", [np.ones(4), np.ones(3, bool), np.ones((2, 2), bool)])
def test_masks_that_do_not_fit_are_refused(tmp_path, mask):
    with pytest.raises(DataError, match=r"region 'V1': mask is .* wanted bool \(4,\)"):
        storage.save_masks(tmp_path / "m.h5", {"V1": mask}, one_of_each()["voxel"])


# ---------------------------------------------------------------------------------------------------------- tables

TEXTS = (NAMES | st.just("")).filter(lambda text: text != "n/a")
NUMBERS = st.floats(-1e6, 1e6) | st.just(np.nan)


@QUICK
@given(st.dictionaries(IDS, st.tuples(TEXTS | st.none(), NUMBERS), min_size=1, max_size=8))
def test_stimulus_tables_return(rows):
    path = fresh("stimuli.tsv")
    table = pd.DataFrame(list(rows.values()), columns=["text", "onset"])
    table.index = pd.Index(list(rows), name="stimulus_id", dtype=object)
    storage.save_stimuli(path, StimulusSet(table))
    found = storage.load_stimuli(path)
    assert list(found.ids) == list(rows)
    assert same_cells(found.table[["text"]], table[["text"]])
    assert np.allclose(found.table["onset"].astype(float), table["onset"], rtol=1e-9, equal_nan=True)


@pytest.mark.parametrize(
    "text", ["a\tb", "a\nb", "a\rb", "\r", 'a "quoted" word', '"', "#", "", " a ", "ü", "NA", "nan"]
)
def test_texts_return_as_they_are(tmp_path, text):
    table = pd.DataFrame({"text": [text, "plain", None], "onset": [0.5, 1.25, np.nan], "run": [1, 2, 3]})
    storage.write_table(tmp_path / "t.tsv", table, index=False)
    found = storage.read_table(tmp_path / "t.tsv")
    assert same_cells(found, table) and found["run"].dtype == int


def test_ids_and_padded_numbers_stay_strings(tmp_path):
    table = pd.DataFrame(
        {
            "stimulus_id": ["001", "1e3", "NA"],
            "subject": ["01", "02", "10"],
            "session": [None, "001", "002"],
            "text": ["None", "5", None],
            "run": [1, 2, 3],
            "score": [0.5, np.nan, 0.25],
            "zero": [0, 0, 10],
            "small": [0.5, 0.25, 0.125],
        }
    )
    storage.write_table(tmp_path / "t.tsv", table, index=False)
    found = storage.read_table(tmp_path / "t.tsv")
    assert same_cells(found, table)
    assert all(pd.api.types.is_numeric_dtype(found[name]) for name in ("run", "score", "zero", "small"))
    assert "n/a" in (tmp_path / "t.tsv").read_text()


def test_columns_named_as_text_stay_strings(tmp_path):
    storage.write_table(tmp_path / "t.tsv", pd.DataFrame({"label": ["1", "2"]}), index=False)
    assert list(storage.read_table(tmp_path / "t.tsv", text=("label",))["label"]) == ["1", "2"]
    assert list(storage.read_table(tmp_path / "t.tsv")["label"]) == [1, 2]


def test_commas_separate_csv(tmp_path):
    (tmp_path / "t.csv").write_text("stimulus_id,run\n007,1\n")
    assert storage.read_table(tmp_path / "t.csv").to_dict("list") == {"stimulus_id": ["007"], "run": [1]}


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    (tmp_path / "t.tsv").write_text("stimulus_id\trun\na\t1\n", encoding="utf-8-sig")
    assert list(storage.read_table(tmp_path / "t.tsv").columns) == ["stimulus_id", "run"]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "No columns"),
        (b"a\tb\n1\t2\n1\t2\t3\n", "Expected 2 fields in line 3, saw 3"),
        (b"a\tb\n1\t2\t3\n4\t5\t6\n", "Length of header or names does not match"),
        (b"a\tb\n\xff\xfe\t1\n", "utf-8"),
    ],
)
def test_what_is_no_table_is_refused_in_one_sentence(tmp_path, content, message):
    (tmp_path / "t.tsv").write_bytes(content)
    with pytest.raises(DataError, match=message) as refusal:
        storage.read_table(tmp_path / "t.tsv")
    assert str(tmp_path / "t.tsv") in str(refusal.value) and "\n" not in str(refusal.value)


def test_pictures_are_found_beside_their_table(tmp_path):
    table = pd.DataFrame(
        {"path": ["pictures/a.png", "/data/b.png", None]}, index=pd.Index(["a", "b", "c"], name="stimulus_id")
    )
    storage.save_stimuli(tmp_path / "stimuli.tsv", StimulusSet(table))
    found = storage.load_stimuli(tmp_path / "stimuli.tsv").table["path"]
    assert list(found[:2]) == [str(tmp_path / "pictures/a.png"), "/data/b.png"] and pd.isna(found["c"])


def test_a_stimulus_table_needs_its_column(tmp_path):
    (tmp_path / "t.tsv").write_text("name\na\n")
    with pytest.raises(DataError, match=r"\['name'\], wanted a column 'stimulus_id'"):
        storage.load_stimuli(tmp_path / "t.tsv")


# -------------------------------------------------------------------------------------------------- arrays and JSON


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float16", "float32", "float64"])
def test_arrays_return(tmp_path, dtype):
    rng = np.random.default_rng(0)
    arrays = {
        "plain": rng.integers(0, 2, (3, 4)).astype(dtype),
        "transposed": rng.integers(0, 2, (3, 4)).astype(dtype).T,
        "strided": rng.integers(0, 2, (6, 4)).astype(dtype)[::2, 1:3],
        "scalar": np.array(1).astype(dtype),
        "empty": np.zeros((0, 3), dtype),
        "band:clip b11/ü": np.ones(1, dtype),
    }
    storage.save_arrays(tmp_path / "a.safetensors", arrays, {"b": "1", "a": "2"})
    found = storage.load_arrays(tmp_path / "a.safetensors")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == dtype and found[name].shape == array.shape
        assert np.array_equal(found[name], array)


def test_arrays_of_the_other_byte_order_keep_their_numbers(tmp_path):
    storage.save_arrays(tmp_path / "a.safetensors", {"swapped": np.arange(5, dtype=">f4")})
    assert np.array_equal(storage.load_arrays(tmp_path / "a.safetensors")["swapped"], np.arange(5))


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([{}], object), np.array([b"a"])])
def test_arrays_of_no_numbers_are_refused(tmp_path, array):
    with pytest.raises(DataError, match="array 'names' is .* wanted numbers"):
        storage.save_arrays(tmp_path / "a.safetensors", {"names": array})
    assert list(tmp_path.iterdir()) == []


def test_json_holds_numpy_paths_sets_and_nan(tmp_path):
    content: dict[str, Any] = {
        "z": np.float32(0.5),
        "a": np.arange(3),
        "nan": [np.nan, np.float64("inf"), 1.0],
        "flag": np.bool_(True),
        "path": Path("a/b"),
        "set": {"y", "x"},
        "tuple": (1, None),
        3: "ü",
    }
    storage.write_json(tmp_path / "c.json", content)
    found = storage.read_json(tmp_path / "c.json")
    assert list(found) == ["z", "a", "nan", "flag", "path", "set", "tuple", "3"]
    assert list(found.values()) == [0.5, [0, 1, 2], [None, None, 1.0], True, "a/b", ["x", "y"], [1, None], "ü"]


@pytest.mark.parametrize("content", [b"{", b"\xff", b""])
def test_what_is_no_json_is_refused(tmp_path, content):
    (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(DataError, match="is not valid JSON"):
        storage.read_json(tmp_path / "c.json")


LOADERS: list[Callable[[Path], Any]] = [
    storage.load_features,
    storage.load_responses,
    storage.open_responses,
    storage.load_maps,
    storage.load_masks,
    storage.load_arrays,
    storage.open_arrays,
    storage.load_stimuli,
    storage.read_table,
    storage.read_json,
    storage.read_provenance,
]


@pytest.mark.parametrize("load", LOADERS, ids=lambda load: load.__name__)
def test_a_file_that_is_not_there_is_named(tmp_path, load):
    for path in (tmp_path / "none.h5", tmp_path):
        with pytest.raises(DataError, match="does not exist: check the path"):
            load(path)
