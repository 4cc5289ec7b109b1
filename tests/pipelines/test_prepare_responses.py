"""prepare_responses: the numbers as measured, nothing gained or lost, and their regions."""

from __future__ import annotations

import numpy as np

from brainenc.core import storage


def test_values_are_those_of_the_file(toy):
    responses = storage.load_responses(toy.subject / "responses-raw.h5")
    np.testing.assert_array_equal(responses.values, np.load(toy.base / "data" / "sub-01_responses.npy"))
    samples = storage.read_table(toy.base / "data" / "sub-01_samples.tsv")
    assert responses.stimulus_ids.tolist() == samples["stimulus_id"].tolist()
    np.testing.assert_array_equal(responses.column("session"), samples["session"])
    assert responses.units == "a.u."


def test_regions_are_masks_over_targets(toy):
    masks = storage.load_masks(toy.subject / "regions.h5")
    assert {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()} == {
        "A": list(range(8)),
        "B": list(range(8, 16)),
        "noise": list(range(16, 24)),
    }


def test_files_say_where_they_come_from(toy):
    for name in ("responses-raw.h5", "regions.h5"):
        made = storage.read_provenance(toy.subject / name)
        assert made["step"] == "prepare_responses"
        assert made["parameters"]["subject"] == "01"
