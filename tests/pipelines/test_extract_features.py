"""extract_features: rows by stimulus, whatever the batch; projections are a function of the seed."""

from __future__ import annotations

import numpy as np

from brainenc.core import storage
from pipelines.extract_features import extract_features


def extracted(toy, output, **parameters):
    entry = {"class": "table", "columns": ["a_*", "b_*"], "seed": 0, "batch_size": 64, **parameters}
    extract_features(toy.folder / "stimuli.tsv", "both", entry, output)
    return storage.load_features(output)


def test_rows_are_the_columns_of_the_stimulus_table(toy):
    table = storage.load_stimuli(toy.folder / "stimuli.tsv").table
    features = storage.load_features(toy.folder / "features" / "a.h5")
    assert features.stimulus_ids.tolist() == table.index.tolist()
    np.testing.assert_allclose(features.matrix, table[["a_0", "a_1", "a_2"]], rtol=1e-6)


def test_batches_change_nothing(toy, tmp_path):
    whole = extracted(toy, tmp_path / "whole.h5").values
    np.testing.assert_array_equal(whole, extracted(toy, tmp_path / "parts.h5", batch_size=7).values)


def test_a_projection_depends_on_the_seed_alone(toy, tmp_path):
    first, again, other = (
        extracted(toy, tmp_path / f"{n}.h5", projection=4, seed=seed, batch_size=size).values
        for n, (seed, size) in enumerate([(5, 64), (5, 11), (6, 64)])
    )
    assert first.shape == (60, 4)
    np.testing.assert_allclose(first, again, rtol=1e-5)
    assert not np.allclose(first, other)


def test_components_are_left_to_the_fit(toy):
    # A component of all stimuli would have seen the test set.
    assert storage.load_features(toy.folder / "features" / "b.h5").matrix.shape == (60, 3)


def test_provenance_names_the_extractor(toy):
    made = storage.read_provenance(toy.folder / "features" / "a.h5")
    assert made["parameters"]["extractor"]["class"] == "table"
    assert set(made["inputs"]) == {"stimuli"}
