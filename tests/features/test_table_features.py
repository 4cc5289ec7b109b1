"""Columns of the stimulus table and arrays from elsewhere: rows meet by id, nothing is guessed."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from brainenc.core.types import DataError, StimulusSet
from brainenc.features import build

TABLE = pd.DataFrame(
    {
        "label": ["face", "house", "face"],
        "attribute_b": [1.0, 2.0, 3.0],
        "area": [0, 5, 7],
        "attribute_a": [True, False, True],
    },
    index=pd.Index(["x", "y", "z"], name="stimulus_id"),
)


def rows(extractor, stimuli, batch_size=2):
    return np.concatenate(list(extractor.extract(stimuli, batch_size=batch_size)))


def test_patterns_levels_and_order():
    stimuli = StimulusSet(TABLE)
    extractor = build("table", "t", columns=["area", "attribute_*", "label"], levels={"label": ["house", "face"]})
    assert extractor.channel_names(stimuli) == ["area", "attribute_b", "attribute_a", "label=house", "label=face"]
    assert extractor.row_shape(stimuli) == (5,)
    expected = [[0, 1, 1, 0, 1], [5, 2, 0, 1, 0], [7, 3, 1, 0, 1]]
    np.testing.assert_array_equal(rows(extractor, stimuli), expected)
    np.testing.assert_array_equal(rows(extractor, stimuli.select(["z", "x"])), [expected[2], expected[0]])


def test_log_transform_touches_numbers_only():
    extractor = build("table", "t", columns=["area", "label"], levels={"label": ["face", "house"]}, transform="log1p")
    np.testing.assert_allclose(rows(extractor, StimulusSet(TABLE))[:, 0], np.log1p([0, 5, 7]), rtol=1e-6)
    assert set(rows(extractor, StimulusSet(TABLE))[:, 1]) == {0, 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": ["colour"]}, "no column .* matches 'colour'"),
        ({"columns": ["label"]}, "column 'label' holds .*under 'levels'"),
        ({"columns": ["label"], "levels": {"label": ["face"]}}, "stimulus 'y' has 'house'.*none of the levels"),
        ({"columns": ["area"], "levels": {"label": ["face"]}}, "levels are given for 'label'"),
        ({"columns": ["hole"]}, "stimulus 'y' has nan in column 'hole'"),
        ({"columns": ["negative"], "transform": "log1p"}, "stimulus 'z' has -1.0.*above -1"),
        ({"columns": ["area"], "transform": "sqrt"}, "transform is 'sqrt'"),
        ({"columns": "area"}, "wanted a list"),
        ({"columns": ["label"], "levels": {"label": ["face", "face"]}}, "wanted distinct values"),
    ],
)
def test_wrong_tables_are_refused(arguments, message):
    stimuli = StimulusSet(TABLE.assign(hole=[1, np.nan, 2], negative=[1.0, 2.0, -1.0]))
    with pytest.raises(DataError, match=f"'t': .*{message}"):
        build("table", "t", **arguments).extract(stimuli)


VALUES = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32)
IDS = ["e", "y", "x", "q", "z"]


@pytest.fixture
def stored(tmp_path):
    """Arguments by file type, all naming the same rows."""
    pd.DataFrame({"stimulus_id": IDS}).to_csv(tmp_path / "ids.tsv", sep="\t", index=False)
    np.save(tmp_path / "a.npy", VALUES)
    np.savez(tmp_path / "a.npz", layer=VALUES, ids=np.array(IDS))
    save_file({"layer": VALUES}, tmp_path / "a.safetensors")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["deep/layer"] = VALUES
        file["ids"] = IDS
    table = {"ids_table": str(tmp_path / "ids.tsv")}
    return {
        "npy": {"path": str(tmp_path / "a.npy")} | table,
        "npz": {"path": str(tmp_path / "a.npz"), "key": "layer", "ids_key": "ids"},
        "safetensors": {"path": str(tmp_path / "a.safetensors"), "key": "layer"} | table,
        "hdf5": {"path": str(tmp_path / "a.h5"), "key": "deep/layer", "ids_key": "ids"},
        "hdf5-table": {"path": str(tmp_path / "a.h5"), "key": "deep/layer"} | table,
    }


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors", "hdf5", "hdf5-table"])
def test_stored_rows_meet_stimuli_by_id(stored, kind):
    extractor = build("array", "a", **stored[kind])
    stimuli = StimulusSet(TABLE)
    for batch_size in (1, 2, 3):
        np.testing.assert_array_equal(rows(extractor, stimuli, batch_size), VALUES[[2, 1, 4]])
    assert extractor.shape == extractor.row_shape(stimuli) == (4, 3)
    assert "a." in next(iter(extractor.fingerprint()["files_sha256"]))


def test_a_changed_file_changes_the_fingerprint(stored):
    before = build("array", "a", **stored["npy"]).fingerprint()
    np.save(stored["npy"]["path"], VALUES + 1)
    assert build("array", "a", **stored["npy"]).fingerprint() != before


def test_missing_rows_are_counted(stored):
    stimuli = StimulusSet(pd.DataFrame(index=pd.Index(["x", "new", "newer"], name="stimulus_id"), data={"n": 0}))
    with pytest.raises(DataError, match="2 of 3 stimuli have no row in .*first 'new'"):
        build("array", "a", **stored["npy"]).extract(stimuli)


def test_stored_infinity_is_named(stored):
    values = VALUES.copy()
    values[1, 0, 0] = np.inf
    np.save(stored["npy"]["path"], values)
    with pytest.raises(DataError, match="stimulus 'y' gives NaN or infinity"):
        rows(build("array", "a", **stored["npy"]), StimulusSet(TABLE))


class _Payload:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("fault", ["pickle", "garbage", "key", "rows", "ids", "twice", "flat", "strings"])
def test_wrong_arrays_are_refused(stored, tmp_path, fault, capsys):
    arguments = dict(stored["npy"])
    if fault == "pickle":
        np.save(arguments["path"], np.array([_Payload()] * 5, dtype=object))
        message = "cannot be read.*no pickled objects"
    elif fault == "garbage":
        (tmp_path / "a.npy").write_bytes(b"nothing")
        message = "cannot be read"
    elif fault == "key":
        arguments, message = stored["hdf5"] | {"key": "shallow"}, "the array 'shallow' .*cannot be read.*check the key"
    elif fault == "rows":
        np.save(arguments["path"], VALUES[:4])
        message = r"shape \(4, 4, 3\) but 5 ids"
    elif fault == "ids":
        (tmp_path / "ids.tsv").write_text("name\nx\n")
        message = "wanted 'stimulus_id'"
    elif fault == "twice":
        (tmp_path / "ids.tsv").write_text("stimulus_id\nx\ny\nx\nz\nq\n")
        message = "'x' names several rows"
    elif fault == "flat":
        np.save(arguments["path"], VALUES[:, 0, 0])
        message = r"shape \(5,\)"
    else:
        np.save(arguments["path"], VALUES.astype(str))
        message = "wanted real numbers"
    with pytest.raises(DataError, match=f"'a': .*{message}"):
        build("array", "a", **arguments).extract(StimulusSet(TABLE))
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "/nowhere.npy"}, "does not exist"),
        ({"path": __file__}, "ends in '.py'"),
        ({"key": "layer"}, "drop 'key'"),
        ({"ids_table": None}, "exactly one of ids_table and ids_key"),
        ({"ids_table": None, "ids_key": "ids"}, "holds no strings"),
    ],
)
def test_wrong_arguments_are_refused(stored, change, message):
    with pytest.raises(DataError, match=f"'a': .*{message}"):
        build("array", "a", **stored["npy"] | change)
