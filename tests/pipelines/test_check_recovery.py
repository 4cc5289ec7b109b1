"""The step that opens the truth: its table on a tiny planted study, and what a wrong map does to it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from brainenc.core import storage
from brainenc.core.types import TargetMap
from pipelines.check_recovery import check_recovery
from pipelines.study import resolve_study
from tests.pipelines.conftest import run_steps

pytestmark = pytest.mark.slow

STUDY = {
    "study": "recovered",
    "dataset": {"class": "planted", "size": "tiny", "subjects": ["01"]},
    "subjects": ["01"],
    "split": {"class": "column"},
    "responses": {"within": "session", "detrend": 1, "zscore": True},
    "ceiling": {"rows": "all"},
    "features": {"energy": {"class": "gabor"}, "scene": {"class": "table", "columns": ["size_*", "attribute_*"]}},
    "encoders": {"banded": {"class": "banded", "n_gammas": 3, "n_alphas": 5}},
    "statistics": {"n_permutations": 100, "n_bootstrap": 20},
    "surface": {"mesh": None},
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    study = resolve_study({**STUDY, "results": str(tmp_path_factory.mktemp("recovered"))})
    run_steps(study)
    return SimpleNamespace(study=study, folder=study.folder, subject=study.folder / "sub-01")


def recovered(planted: SimpleNamespace, output: Path, **changed: Path):
    study, subject = planted.study, planted.subject
    files = {
        "stimuli": planted.folder / "stimuli.tsv",
        "responses": subject / "responses.h5",
        "split": subject / "split.tsv",
        "ceiling": subject / "ceiling.h5",
        **changed,
    }
    parameters = {
        "dataset": study.config["dataset"],
        "models": [model.label for model in study.models],
        "features": study.config["features"],
        "fdr": 0.05,
        "average": True,
    }
    folders = [subject / model.name for model in study.models]
    check_recovery("01", **files, models=folders, parameters=parameters, output=output)
    return storage.read_table(output)


def test_every_family_of_checks_is_there_and_passes(planted: SimpleNamespace, tmp_path: Path) -> None:
    table = recovered(planted, tmp_path / "recovery.tsv")
    families = {name.split(":")[0] for name in table["check"]}
    expected = {"noise ceiling", "ridge", "leak guard", "significance", "partition", "receptive field"}
    single = {"preferred category is the planted one", "faces suppress what they were planted to suppress"}
    assert families == expected | single
    assert table["passed"].astype(bool).all(), table[~table["passed"].astype(bool)].to_string()


def test_a_wrong_ceiling_is_noticed(planted: SimpleNamespace, tmp_path: Path) -> None:
    maps = storage.load_maps(planted.subject / "ceiling.h5")
    doubled = maps["ncsnr"]
    maps["ncsnr"] = TargetMap(doubled.values * 1.5, doubled.space, doubled.quantity, doubled.unit)
    storage.save_maps(tmp_path / "ceiling.h5", maps)
    table = recovered(planted, tmp_path / "recovery.tsv", ceiling=tmp_path / "ceiling.h5")
    off = table[~table["passed"].astype(bool)]
    assert list(off["check"]) == ["noise ceiling: estimated / planted ncsnr"]
