"""object2vec81 (Bonner & Epstein 2021, doi:10.1038/s41467-021-24368-2) through `folder`: shapes, order, regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainenc.core.types import DataError
from brainenc.datasets import build

SOURCE = Path(__file__).resolve().parents[3] / "shared" / "data" / "fmri" / "object2vec81" / "object2vec81.npz"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not SOURCE.exists(), reason="object2vec81 is not here")]


@pytest.fixture
def arguments(tmp_path: Path) -> dict:
    """The release as a user would lay it out: tables written, the archive itself left where it is."""
    data = np.load(SOURCE)
    ids = pd.DataFrame({"stimulus_id": data["category"]})
    ids.assign(text=[name.replace("_", " ") for name in data["category"]]).to_csv(
        tmp_path / "stimuli.tsv", sep="\t", index=False
    )
    ids.to_csv(tmp_path / "sub-01_samples.tsv", sep="\t", index=False)
    region = data["roi_name"][data["roi_index"] - 1]
    pd.DataFrame({"region": region}).to_csv(tmp_path / "sub-01_regions.tsv", sep="\t", index=False)
    return {
        "root": tmp_path,
        "responses": {"01": str(SOURCE)},
        "key": "betas",
        "regions": "sub-{subject}_regions.tsv",
        "units": "beta",
    }


def test_it_loads_in_order(arguments: dict) -> None:
    dataset = build("folder", **arguments)
    dataset.check()
    responses = dataset.responses("01")
    data = np.load(SOURCE)
    assert responses.values.shape == (81, 696)
    np.testing.assert_array_equal(responses.values, data["betas"])
    assert list(responses.stimulus_ids) == list(data["category"])
    assert np.isfinite(responses.values).all() and (responses.values.std(axis=0) > 0).all()


def test_seven_regions_cover_every_voxel_once(arguments: dict) -> None:
    regions = build("folder", **arguments).regions("01")
    assert set(regions) == {"EVC", "OPA", "PPA", "LOC", "PFS", "OFA", "FFA"}
    np.testing.assert_array_equal(np.sum(list(regions.values()), axis=0), np.ones(696))
    data = np.load(SOURCE)
    assert regions["PPA"].sum() == (data["roi_index"] == 1 + list(data["roi_name"]).index("PPA")).sum()


def test_voxels_of_a_region_agree_and_mixed_rows_do_not(arguments: dict) -> None:
    """Voxels of one region share their profile over categories: an order of rows lost per voxel would end that."""
    dataset = build("folder", **arguments)
    values, regions = dataset.responses("01").values, dataset.regions("01")

    def agreement(Y: np.ndarray) -> float:
        return float(np.mean([np.corrcoef(Y[:, mask].T).mean() for mask in regions.values()]))

    mixed = np.random.default_rng(0).permuted(values, axis=0)
    assert agreement(values) > 0.1 > 5 * agreement(mixed)


def test_asking_for_another_array_of_the_archive_is_refused(arguments: dict) -> None:
    with pytest.raises(DataError, match="real numbers"):
        build("folder", **arguments | {"key": "category"}).check()
    with pytest.raises(DataError, match="have 20"):
        build("folder", **arguments | {"key": "alexnet_pc"}).check()
