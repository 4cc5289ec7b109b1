"""partition_variance: product shares sum to the joint r2, and each band owns what was planted in it."""

from __future__ import annotations

import numpy as np
import pytest

from brainenc.core import storage
from pipelines.partition_variance import partition_variance
from tests.pipelines.conftest import BROKEN, DEAD
from tests.pipelines.toy_steps import fit, folder_of, score, values_of


@pytest.fixture(scope="module")
def shares(toy):
    return values_of(folder_of(toy, "banded/a+b") / "partition.h5")


def test_product_shares_sum_to_the_joint_r2(toy, shares):
    joint = values_of(folder_of(toy, "banded/a+b") / "scores.h5")["r2"]
    total = shares["product_a"] + shares["product_b"]
    usable = np.delete(np.arange(24), [DEAD, BROKEN])
    np.testing.assert_allclose(total[usable], joint[usable], atol=1e-5)
    assert np.isnan(total[[DEAD, BROKEN]]).all()
    # Unique shares do not sum to it: bands overlap by chance.
    assert not np.allclose((shares["unique_a"] + shares["unique_b"])[usable], joint[usable], atol=1e-5)


def test_unique_variance_is_what_the_rest_loses(toy, shares):
    joint, without_a = (values_of(folder_of(toy, label) / "scores.h5")["r2"] for label in ("banded/a+b", "banded/b"))
    np.testing.assert_allclose(shares["unique_a"], joint - without_a)


def test_each_band_owns_its_region(shares):
    assert shares["unique_a"][:8].mean() > 0.5 > abs(shares["unique_a"][8:16].mean()) + 0.3
    assert shares["unique_b"][8:16].mean() > 0.3 > abs(shares["unique_b"][:8].mean()) + 0.2


def test_shares_sum_over_cross_validation_folds_too(toy, tmp_path):
    table = storage.read_table(toy.subject / "split.tsv")
    table["test_fold"] = [int(stimulus_id[1:]) % 3 for stimulus_id in table["stimulus_id"]]
    storage.write_table(tmp_path / "split.tsv", table, index=False)
    made = fit(toy, "banded/a+b", tmp_path, split=tmp_path / "split.tsv")
    joint = score(toy, made.predictions, tmp_path / "scores.h5", split=tmp_path / "split.tsv")["r2"]
    files = (toy.subject / "responses.h5", tmp_path / "split.tsv", made.predictions, tmp_path / "scores.h5")
    parameters = {"bands": ["a", "b"], "average": True}
    partition_variance(*files, [tmp_path / "scores.h5"] * 2, parameters, tmp_path / "partition.h5")
    found = values_of(tmp_path / "partition.h5")
    np.testing.assert_allclose(found["product_a"] + found["product_b"], joint, atol=1e-5)
