"""Networks by name: pocket networks stand where a study names them; what is missing is told with its cure."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from brainenc import features, pocket
from brainenc.core.types import DataError
from pipelines import networks
from pipelines.cli import main


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of all pocket networks, without networks in them."""

    def folder(name: str) -> Path:
        path = tmp_path / pocket.check_name(name)
        path.mkdir(exist_ok=True)
        for file in ("open_clip_config.json", "config.json"):
            (path / file).write_text("{}")
        (path / "card.json").write_text('{"licence": "BSD-3-Clause"}')
        return path

    monkeypatch.setattr(pocket, "folder", folder)
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "model", "told"),
    [
        ("open_clip", "pocket-clip", "local-dir:{}/pocket-clip"),
        ("open_clip_text", "pocket-clip-b", "local-dir:{}/pocket-clip-b"),
        ("timm", "pocket-net", "local-dir:{}/pocket-net"),
        ("sentence", "pocket-text", "{}/pocket-text"),
    ],
)
def test_a_pocket_name_becomes_what_its_library_is_told(shipped: Path, kind: str, model: str, told: str) -> None:
    found_kind, arguments = networks.feature_arguments("space", {"class": kind, "model": model, "batch_size": 8})
    assert (found_kind, arguments) == (kind, {"model": told.format(shipped)})
    assert features.build(found_kind, name="space", **arguments).name == "space"


def test_other_names_stay_as_written() -> None:
    entry = {"class": "open_clip", "model": "hf-hub:org/name", "layer": "pooled"}
    assert networks.feature_arguments("space", entry) == ("open_clip", {"model": "hf-hub:org/name", "layer": "pooled"})


@pytest.mark.parametrize(
    ("kind", "model"), [("timm", "pocket-clip"), ("sentence", "pocket-net"), ("gabor", "pocket-net")]
)
def test_a_network_of_another_library_is_refused(shipped: Path, kind: str, model: str) -> None:
    with pytest.raises(DataError, match="cannot load"):
        networks.feature_arguments("space", {"class": kind, "model": model})


def test_an_unknown_pocket_name_is_told_the_known_ones() -> None:
    with pytest.raises(DataError, match="pocket-clip-b"):
        networks.feature_arguments("space", {"class": "open_clip", "model": "pocket-klip"})


def _study(folder: Path, features: dict[str, object]) -> Path:
    study = {
        "study": "listed",
        "results": str(folder / "results"),
        "dataset": {"class": "planted", "size": "tiny", "seed": 0, "subjects": ["01"]},
        "subjects": ["01"],
        "split": {"class": "column"},
        "features": features,
        "encoders": {"ridge": {"class": "ridge"}},
        "surface": {"mesh": None},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def test_models_lists_what_a_study_needs_and_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shipped: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    study = _study(
        tmp_path,
        {
            "clip": {"class": "open_clip", "model": "pocket-clip"},
            "net": {"class": "timm", "model": "resnet18.a1_in1k", "pretrained": True},
            "random": {"class": "timm", "model": "resnet18", "random_weights": 0},
            "energy": {"class": "gabor"},
        },
    )
    assert main(["models", str(study)]) == 1
    printed, complaint = capsys.readouterr()
    lines = {line.split()[0]: line for line in printed.splitlines()[1:]}
    assert set(lines) == {"features/clip", "features/net"}
    assert lines["features/clip"].endswith("ready")
    assert lines["features/net"].endswith("hf download timm/resnet18.a1_in1k")
    assert complaint.startswith("brainenc models: 1 of 2 are not here")


def test_models_without_a_study_lists_all_pocket_networks(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()[1:]] == list(pocket.NETWORKS)
