"""split_samples: what is tested is sealed, copies of it included, and repetitions stay together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brainenc.core import storage
from brainenc.core.types import DataError
from pipelines.samples import load_samples
from pipelines.split_samples import split_samples
from pipelines.study import resolve_study
from tests.pipelines.conftest import run_steps, toy_config, write_toy


def split(toy, output, **parameters):
    split_samples(toy.folder / "stimuli.tsv", toy.subject / "responses-raw.h5", parameters, output)
    return storage.read_table(output)


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """The toy, but training stimuli ``s000`` and ``s001`` show what test stimulus ``s050`` shows."""
    base = tmp_path_factory.mktemp("copied")
    write_toy(base / "data")
    table = pd.read_csv(base / "data" / "stimuli.tsv", sep="\t", index_col="stimulus_id")
    table.loc[["s000", "s001"], "text"] = table.loc["s050", "text"]
    table.to_csv(base / "data" / "stimuli.tsv", sep="\t")
    study = resolve_study(toy_config(base / "data", base / "results"))
    run_steps(study)
    return study.folder


def test_a_column_of_the_stimulus_table_decides(toy):
    table = storage.read_table(toy.subject / "split.tsv")
    stimuli = storage.load_stimuli(toy.folder / "stimuli.tsv").table
    wanted = stimuli["split"].reindex(table["stimulus_id"]).map({"train": -1, "test": 0})
    assert table["test_fold"].tolist() == wanted.tolist()


def test_repetitions_share_fold_and_group(toy, tmp_path):
    table = split(toy, tmp_path / "split.tsv", **{"class": "stimulus", "n_folds": 4, "seed": 1})
    assert (table.groupby("stimulus_id")[["test_fold", "group"]].nunique() == 1).all(axis=None)
    assert sorted(table["test_fold"].unique()) == [0, 1, 2, 3]
    # The same check does see repetitions that straddle.
    straddling = table.assign(test_fold=np.arange(len(table)) % 4)
    assert not (straddling.groupby("stimulus_id")[["test_fold"]].nunique() == 1).all(axis=None)


def test_runs_without_a_run_column_are_refused(toy, tmp_path):
    with pytest.raises(DataError, match="needs a 'run' column"):
        split(toy, tmp_path / "split.tsv", **{"class": "run"})
    assert not (tmp_path / "split.tsv").exists()


def test_copies_of_a_test_stimulus_leave_training(copied):
    table = storage.read_table(copied / "sub-01" / "split.tsv")
    unused = table.loc[table["test_fold"] == -2, "stimulus_id"]
    assert sorted(unused) == ["s000"] * 3 + ["s001"] * 3
    assert (table.loc[table["stimulus_id"] == "s050", "test_fold"] == 0).all()
    samples = load_samples(copied / "sub-01" / "responses.h5", copied / "sub-01" / "split.tsv", average=True)
    assert len(samples.Y) == 58
    assert storage.read_json(copied / "sub-01" / "encoder-ridge_features-a" / "encoder.json")["n_samples"] == 58


def test_copies_are_counted_and_reported(copied, toy):
    quality = storage.read_json(copied / "sub-01" / "quality.json")
    assert quality["folds"] == {"-2": 6, "-1": 129, "0": 45}
    cells = "<td>129</td><td>45</td><td>6</td>"
    assert cells in (copied / "report.html").read_text()
    assert "2 with the same content as another" in (copied / "report.html").read_text()
    assert cells not in (toy.folder / "report.html").read_text()


def test_copies_share_a_fold_when_stimuli_are_dealt(copied, tmp_path):
    parameters = {"class": "stimulus", "n_folds": 5, "seed": 0}
    split_samples(copied / "stimuli.tsv", copied / "sub-01" / "responses-raw.h5", parameters, tmp_path / "split.tsv")
    table = storage.read_table(tmp_path / "split.tsv")
    assert table.loc[table["stimulus_id"].isin(["s000", "s001", "s050"]), "test_fold"].nunique() == 1


def test_averaging_over_folds_is_refused(toy, tmp_path):
    table = storage.read_table(toy.subject / "split.tsv")
    storage.write_table(tmp_path / "split.tsv", table.assign(test_fold=np.arange(180) % 3), index=False)
    with pytest.raises(DataError, match="averaging would mix training and test"):
        load_samples(toy.subject / "responses.h5", tmp_path / "split.tsv", average=True)
    assert len(load_samples(toy.subject / "responses.h5", tmp_path / "split.tsv", average=False).Y) == 179
