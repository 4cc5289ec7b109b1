"""Miyawaki et al. 2008 (doi:10.1016/j.neuron.2008.11.004) figures through `folder`: shapes, order, pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from brainenc.datasets import build

SOURCE = Path(__file__).resolve().parents[3] / "shared" / "data" / "fmri" / "miyawaki2008" / "miyawaki2008_figures.npz"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not SOURCE.exists(), reason="miyawaki2008 is not here")]


def arrays() -> dict[str, np.ndarray]:
    """Training and test rows joined; pictures (119, 28, 28) upright, which is the transpose of the stored rows."""
    data = np.load(SOURCE)
    both = {
        name: np.concatenate([data[f"{name}_train"], data[f"{name}_test"]]) for name in ("responses", "label", "row")
    }
    pictures = np.concatenate([data["stimuli_train"], data["stimuli_test"]]).reshape(-1, 28, 28)
    return both | {"pictures": pictures.transpose(0, 2, 1)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    data = arrays()
    distinct, which = np.unique(data["pictures"], axis=0, return_inverse=True)
    names = [f"figure{i:03d}" for i in range(len(distinct))]
    (tmp_path / "images").mkdir()
    for name, picture in zip(names, distinct, strict=True):
        Image.fromarray(np.round(255 * picture).astype(np.uint8)).save(tmp_path / "images" / f"{name}.png")
    table = pd.DataFrame({"stimulus_id": names, "path": [f"images/{name}.png" for name in names]})
    table.to_csv(tmp_path / "stimuli.tsv", sep="\t", index=False)
    part = ["train"] * 107 + ["test"] * 12
    samples = pd.DataFrame({"stimulus_id": np.array(names)[which.ravel()], "label": data["label"], "part": part})
    samples.to_csv(tmp_path / "sub-01_samples.tsv", sep="\t", index=False)
    np.save(tmp_path / "sub-01_responses.npy", data["responses"])
    return tmp_path


def test_it_loads_in_order(root: Path) -> None:
    dataset = build("folder", root=root, units="z")
    dataset.check()
    responses, stimuli = dataset.responses("01"), dataset.stimuli(root)
    data = arrays()
    assert responses.values.shape == (119, 967)
    np.testing.assert_array_equal(responses.values, data["responses"])
    for row in (0, 50, 118):
        with Image.open(stimuli.table.loc[responses.stimulus_ids[row], "path"]) as picture:
            np.testing.assert_allclose(np.asarray(picture) / 255, data["pictures"][row], atol=1 / 255)


def test_pictures_are_upright(root: Path) -> None:
    """Label 28 is the letter r: a bar at the top and a bar down the left side."""
    data = arrays()
    corner = data["pictures"][data["label"] == 28][0]
    assert corner[4:7, 8:20].mean() > 0.5 and corner[8:20, 6:9].mean() > 0.5
    assert corner[16:24, 16:24].mean() < 0.05


def test_rows_of_one_figure_agree_and_shuffled_rows_do_not(root: Path) -> None:
    """The same figure gives alike patterns, if and only if ids and rows belong together."""
    responses = build("folder", root=root).responses("01")
    labels = responses.column("label")
    alike = np.corrcoef(np.asarray(responses.values))
    off = ~np.eye(len(labels), dtype=bool)

    def gap(labels: np.ndarray) -> float:
        same = labels[:, None] == labels[None]
        return float(alike[same & off].mean() - alike[~same].mean())

    assert gap(labels) > 0.1
    assert abs(gap(np.random.default_rng(0).permutation(labels))) < 0.03
