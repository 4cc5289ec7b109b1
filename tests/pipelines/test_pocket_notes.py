"""Whatever was made with pocket networks says so: report, captions of maps, sidecars of exports."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from brainenc.core import storage
from brainenc.core.spaces import VertexSpace
from brainenc.core.types import TargetMap
from pipelines import paint_maps as page
from pipelines.export_maps import export_maps
from pipelines.report_text import pocket_networks
from pipelines.study import resolve_study
from pipelines.write_report import write_report
from tests.pipelines.toy_steps import folder_of

NOTE = "Features of pocket-clip, a pocket network: small, trained on drawn scenes."


@pytest.fixture
def study(toy):
    """The toy study as if its space ``a`` came from a pocket network."""
    features = {**toy.study.config["features"], "a": {"class": "open_clip", "model": "pocket-clip"}}
    return resolve_study({**toy.study.config, "features": features})


def test_every_model_that_uses_a_pocket_network_has_a_note(toy, study):
    assert toy.study.pocket_notes == {}
    noted = {model.label for model in study.models if "a" in model.features}
    assert set(study.pocket_notes) == noted and 0 < len(noted) < len(study.models)
    assert study.pocket_notes["ridge/a"] == NOTE
    both = {**study.config["features"], "b": {"class": "sentence", "model": "pocket-text"}}
    joint = resolve_study({**study.config, "features": both}).pocket_notes["banded/a+b"]
    assert joint == "Features of pocket-clip and pocket-text, pocket networks: small, trained on drawn scenes."


def test_an_untrained_twin_is_not_called_trained(study):
    entry = {"class": "open_clip", "model": "pocket-clip", "random_weights": 0}
    untrained = resolve_study({**study.config, "features": {**study.config["features"], "a": entry}})
    assert untrained.pocket_notes == {}


def test_a_network_that_planted_is_named_too(study):
    assert pocket_networks(study.config) == ["pocket-clip"]
    planted = {"class": "planted", "network": "pocket-net"}
    assert pocket_networks({**study.config, "dataset": planted}) == ["pocket-clip", "pocket-net"]


def test_the_report_says_so_and_only_then(toy, study, tmp_path):
    assert "ocket network" not in (toy.folder / "report.html").read_text(encoding="utf-8")
    write_report(study.config, toy.folder / "pocket.html")
    text = (toy.folder / "pocket.html").read_text(encoding="utf-8")
    (toy.folder / "pocket.html").unlink()
    assert "<b>Pocket networks</b> (pocket-clip): small networks trained on drawn scenes" in text
    assert "Pocket networks are small networks trained on drawn scenes: pocket-clip." in text


def test_captions_of_all_maps_of_such_a_model_say_so(toy, study, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "_draw", lambda *_: SimpleNamespace())
    monkeypatch.setattr(page.figure, "save_figure", lambda *_: None)
    scores = [folder_of(toy, model.label) / "scores.h5" for model in study.models]
    partitions = [folder_of(toy, model.label) / "partition.h5" for model in study.joint_models]
    parameters = {
        **study.config["surface"],
        "models": [model.label for model in study.models],
        "joint_models": [model.label for model in study.joint_models],
        "field_models": [],
        "floor": 0.1,
        "notes": {"banded/a+b": NOTE, "ridge/a": NOTE},
    }
    regions, ceiling = toy.subject / "regions.h5", toy.subject / "ceiling.h5"
    page.paint_maps("01", regions, ceiling, scores, partitions, [], parameters, tmp_path)
    listed = storage.read_json(tmp_path / "figures.json")
    said = {entry["name"] for entry in listed if entry["caption"].endswith(NOTE)}
    wanted = {name for name in (e["name"] for e in listed) if name.startswith(("banded_a+b", "ridge_a"))}
    assert said == wanted
    assert {"banded_b_correlation", "ceiling"} <= {entry["name"] for entry in listed} - said


def test_sidecars_of_exports_say_so(tmp_path):
    space = VertexSpace("toy", 3, 0, np.arange(3))
    names = ("ceiling_correlation", "correlation", "r2", "normalised_correlation", "q_value")
    maps = {name: TargetMap(np.arange(3.0), space, name) for name in names}
    made = {"versions": {"brainenc": "0"}, "parameters": {"rows_used": "test", "n_repetitions": 1}, "inputs": {}}
    storage.save_maps(tmp_path / "maps.h5", maps, made)
    storage.write_json(tmp_path / "card.json", {"diagnostics": {}, "folds": [], "provenance": made})
    labels, files = ["ridge/a", "ridge/b"], [tmp_path / "maps.h5"] * 2
    parameters = {"models": labels, "study": "toy", "task": "x", "cifti": False, "notes": {"ridge/a": NOTE}}
    export_maps("01", files[0], files, [tmp_path / "card.json"] * 2, parameters, tmp_path / "out")
    sidecars = [storage.read_json(path) for path in (tmp_path / "out").rglob("*desc-ridge*.json")]
    said = {entry["Model"]: entry["Description"].endswith(NOTE) for entry in sidecars}
    assert said == {"ridge/a": True, "ridge/b": False}
