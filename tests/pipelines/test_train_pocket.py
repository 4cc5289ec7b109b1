"""The verb ``brainenc train-pocket``: files, card, resuming, refusals."""

from __future__ import annotations

import json

import pytest

from brainenc.core.types import DataError
from brainenc.nn.training import Recipe, TrainingLog
from brainenc.pocket import NETWORKS, folder, train_clip
from brainenc.pocket.cards import Made
from brainenc.pocket.clip_batches import Mixture
from pipelines.cli import main
from pipelines.train_pocket import train_pocket

SMALL = train_clip.ClipRecipe(
    n_validation=16,
    n_test=32,
    stages=(
        train_clip.Stage(
            96, Mixture(batch_size=16), Recipe(8, 1e-3, validate_every=4, checkpoint_every=3, log_every=2)
        ),
    ),
)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(train_clip, "ClipRecipe", lambda: SMALL)


def test_the_command_trains_writes_and_goes_on(tmp_path, small, capsys):
    out = ["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    assert main(["train-pocket", "pocket-clip-b", "--steps", "6", *out]) == 0
    shipped = tmp_path / "out" / "pocket-clip-b"
    card = json.loads((shipped / "card.json").read_text())
    assert card["steps"] == 6 and card["device"] == "1 CPU thread" and (shipped / "CARD.md").is_file()
    assert sorted(path.name for path in shipped.glob("*.safetensors")) == ["open_clip_model.safetensors"]
    told = capsys.readouterr()
    assert "zero_shot" in told.out and "below the floor: " in told.err
    first = (shipped / "open_clip_model.safetensors").read_bytes()

    assert main(["train-pocket", "pocket-clip-b", "--steps", "6", *out]) == 1
    assert "resume it, or delete the folder" in capsys.readouterr().err
    assert main(["train-pocket", "pocket-clip-b", "--steps", "6", *out, "--resume"]) == 0
    assert (shipped / "open_clip_model.safetensors").read_bytes() == first


def test_unknown_names_and_numbers(tmp_path, capsys):
    assert main(["train-pocket", "pocket-clop", "--out", str(tmp_path)]) == 1
    assert "Pocket network 'pocket-clop' is unknown: use one of pocket-clip" in capsys.readouterr().err
    with pytest.raises(DataError, match="0 steps came"):
        train_pocket("pocket-clip", 0, tmp_path, tmp_path, False)


def test_the_sentence_encoder_takes_no_steps(tmp_path):
    with pytest.raises(DataError, match="converted from pocket-clip, not trained"):
        train_pocket("pocket-text", 5, tmp_path, tmp_path, False)


def test_a_floor_without_a_score_counts_as_missed(tmp_path):
    log = TrainingLog((), 1, 1.0)
    made = Made(
        tmp_path, {}, {}, 0, log, {"a": 0.9, "b": float("nan"), "c": 0.2}, {"a": 0.9, "b": 0.1, "c": 0.5, "d": 0.0}
    )
    assert made.below == ["b", "c", "d"]


def test_folders_are_told_by_name(tmp_path, monkeypatch):
    import brainenc.pocket as room

    monkeypatch.setattr(room, "__file__", str(tmp_path / "__init__.py"))
    for name in NETWORKS:
        with pytest.raises(DataError, match=f"'{name}' has no files in"):
            folder(name)
        (tmp_path / "weights" / name).mkdir(parents=True)
        (tmp_path / "weights" / name / "card.json").write_text("{}")
        assert folder(name) == tmp_path / "weights" / name
    with pytest.raises(DataError, match="'pocket' is unknown"):
        folder("pocket")
