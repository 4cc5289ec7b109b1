"""A study of planted movies through every step: volumes, delays within runs, a test film seen several times."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from brainenc.core import storage
from brainenc.core.types import DataError
from pipelines.check_study import inspect_study
from pipelines.plan_shapes import find_shapes
from pipelines.split_samples import split_samples
from pipelines.study import resolve_study
from tests.pipelines.conftest import run_steps

DELAYED = {"class": "ridge", "n_alphas": 5, "device": "numpy", "delays": [1, 2, 3, 4, 5, 6]}
CONFIG = {
    "study": "movies",
    "dataset": {"class": "planted_movies", "seed": 5, "n_films": 4, "n_clips": 15, "rest": 1, "ncsnr_scale": 2.0},
    "subjects": ["01"],
    "split": {"class": "column"},
    "responses": {"average": False, "within": "run", "detrend": 1},
    "features": {
        "content": {"class": "table", "columns": ["size_*"]},
        "motion": {"class": "table", "columns": ["motion"]},
    },
    "encoders": {"ridge": DELAYED, "plain": {**DELAYED, "delays": None, "features": ["content"]}},
    "statistics": {"n_permutations": 49, "n_bootstrap": 50, "block": 10},
    "surface": {"mesh": None},
}


@pytest.fixture(scope="module")
def movies(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    base = tmp_path_factory.mktemp("movies")
    study = resolve_study({**CONFIG, "results": str(base)})
    run_steps(study)
    subject = study.folder / "sub-01"
    regions = storage.read_table(subject / "regions.tsv").set_index(["model", "region"])
    return SimpleNamespace(study=study, folder=study.folder, subject=subject, regions=regions)


def test_it_passes_the_check_and_is_planned_without_rendering(movies, tmp_path) -> None:
    study = resolve_study({**CONFIG, "results": str(tmp_path)})
    found = inspect_study(study)
    assert found["models"] == ["ridge/content", "ridge/motion", "plain/content"]
    assert not list(tmp_path.iterdir())
    size = find_shapes(study).subjects["01"]
    split = storage.read_table(movies.subject / "split.tsv")
    assert (
        size.n_rows == len(split) and find_shapes(movies.study).subjects["01"].n_tested == (split.test_fold == 0).sum()
    )


def test_every_stimulus_is_on_one_side_and_runs_are_inner_groups(movies) -> None:
    split = storage.read_table(movies.subject / "split.tsv")
    assert split.groupby("stimulus_id")["test_fold"].nunique().max() == 1
    train = split[split["test_fold"] == -1]
    assert train["group"].nunique() == 4 and (split["test_fold"] != -2).all()
    with pytest.raises(DataError, match="both training and test"):
        raw = movies.subject / "responses-raw.h5"
        split_samples(movies.folder / "stimuli.tsv", raw, {"class": "run"}, movies.subject / "torn.tsv")


def test_motion_is_found_where_it_is_planted_and_categories_where_they_are(movies) -> None:
    def r(model: str, *regions: str) -> float:
        return float(np.mean([movies.regions.loc[(model, name), "correlation"] for name in regions]))

    assert r("ridge/motion", "hMT+") > 0.3 and r("ridge/content", "FFA-1", "PPA", "EBA") > 0.4
    assert r("ridge/motion", "hMT+") > r("ridge/content", "hMT+") + 0.15
    assert r("ridge/content", "FFA-1", "PPA", "EBA") > r("ridge/motion", "FFA-1", "PPA", "EBA") + 0.2
    assert r("plain/content", "FFA-1", "PPA", "EBA") < r("ridge/content", "FFA-1", "PPA", "EBA") - 0.2
    assert abs(r("ridge/content", "NOISE")) < 0.12


def test_the_report_says_that_it_is_no_brain(movies) -> None:
    assert "not a brain" in (movies.folder / "report.html").read_text(encoding="utf-8")
    table = storage.load_stimuli(movies.folder / "stimuli.tsv").table
    blank = table["clip"].fillna("") == ""
    assert blank.any() and table.loc[blank, "content"].is_unique  # blank volumes are not taken for copies
