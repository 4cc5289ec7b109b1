"""The study of everything runs, recovers what was planted, and tells a trained network from its untrained twin."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from brainenc import pocket
from brainenc.core import storage
from pipelines.networks import needs
from pipelines.study import TRAINED, load_study
from tests.workflow.snakemake_runs import BIN, ROOT, call

pytestmark = pytest.mark.slow
STUDY = ROOT / "config" / "studies" / "full.yaml"
HIGH = ["FFA-1", "FFA-2", "OFA", "EBA", "FBA", "LO", "VWFA", "FOOD"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the finished study."""
    absent = [need.model for need in needs(load_study(STUDY)) if need.place is None]
    if absent:
        pytest.skip(f"{', '.join(sorted(set(absent)))} of {len(pocket.NETWORKS)} pocket networks not here")
    folder = tmp_path_factory.mktemp("full")
    shutil.copy(STUDY, folder / "full.yaml")
    done = call(BIN / "brainenc", "run", "full.yaml", "--cores", "2", cwd=folder)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return folder / "results" / "full"


def tables(results: Path, name: str) -> pd.DataFrame:
    return pd.concat(storage.read_table(path) for path in sorted(results.glob(f"sub-*/{name}")))


def test_every_class_of_feature_and_encoder_is_in_it() -> None:
    """All but stored arrays, which would need a file: it grows with every later class."""
    from brainenc import encoders, features

    config = load_study(STUDY).config
    assert {entry["class"] for entry in config["features"].values()} == set(features.REGISTRY) - {"array"}
    assert {entry["class"] for entry in config["encoders"].values()} == set(encoders.REGISTRY) | set(TRAINED)


def test_what_was_planted_is_recovered(results: Path) -> None:
    table = tables(results, "recovery.tsv")
    off = table[~table["passed"].astype(bool)]
    assert len(table) > 50 and off.empty, off.to_string()


def test_a_trained_network_beats_its_untrained_twin_where_things_matter(results: Path) -> None:
    table = tables(results, "comparisons.tsv")
    rows = table[(table["model_a"] == "ridge/net") & table["region"].isin(HIGH)]
    assert len(rows) >= 12 and (rows["difference"] > 0.1).mean() > 0.9


def test_two_solvers_agree(results: Path) -> None:
    table = tables(results, "regions.tsv").set_index(["model", "region"])["correlation"]
    exact, other = (table[table.index.get_level_values("model") == name] for name in ("ridge/clip", "himalaya/clip"))
    assert abs(exact.to_numpy() - other.to_numpy()).max() < 0.05


def test_its_report_is_whole(results: Path) -> None:
    text = (results / "report.html").read_text(encoding="utf-8")
    assert "every part of the study was computed" in text
    assert text.count("attention of routing/clip-tokens") == 1 and "Trained encoders" in text
    assert "polar angle, response-optimised/pixels" in text
    assert "Pocket networks</b> (pocket-clip, pocket-net, pocket-text)" in text
