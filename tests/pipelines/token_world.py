"""A subject whose targets follow tokens, and its trained encoders."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from brainenc.core import storage
from brainenc.core.spaces import ParcelSpace
from brainenc.core.types import Features, Responses
from pipelines.fit_readout import fit_readout

N_STIMULI, N_TESTED, SIDE, N_CHANNELS, N_TARGETS = 60, 12, 4, 8, 6
ENCODERS = {
    "attention": {"class": "attention", "n_heads": 2, "n_hidden": 16, "epochs": 3, "learning_rate": 0.01},
    "learner": {"class": "factorised", "epochs": 150, "patience": None, "learning_rate": 0.03},
    "fields": {"class": "factorised", "readout": "gaussian", "epochs": 40, "patience": None, "learning_rate": 0.02},
    "factorised": {"class": "factorised", "readout": "gaussian", "epochs": 3, "learning_rate": 0.05},
}


@pytest.fixture(name="world")
def token_world(tmp_path: Path) -> SimpleNamespace:
    return make_world(tmp_path)


def make_world(folder: Path, n_stimuli: int = N_STIMULI, smooth: bool = False) -> SimpleNamespace:
    """Every stimulus shown twice; each target follows one channel at one place; neighbours alike where ``smooth``."""
    rng = np.random.default_rng(0)
    ids = np.array([f"s{i:03}" for i in range(n_stimuli)], object)
    tokens = rng.normal(size=(n_stimuli, SIDE * SIDE, N_CHANNELS)).astype(np.float32)
    if smooth:
        places = np.stack(np.divmod(np.arange(SIDE * SIDE), SIDE), 1)
        squared = ((places[:, None] - places[None]) ** 2).sum(2)
        tokens = np.einsum("pq,nqc->npc", np.exp(-squared / 2), tokens).astype(np.float32)
    clean = np.stack([tokens[:, (3 * v) % 16, v] for v in range(N_TARGETS)], 1)
    shown = np.concatenate([ids, ids])
    Y = np.concatenate([clean, clean]) + 0.2 * rng.normal(size=(2 * n_stimuli, N_TARGETS))
    fold = np.where(np.arange(n_stimuli) < N_TESTED, 0, -1)
    space = ParcelSpace(tuple(f"p{v}" for v in range(N_TARGETS)))
    storage.save_features(folder / "tokens.h5", Features(tokens, ids, "tokens"))
    storage.save_responses(folder / "responses.h5", Responses(Y.astype(np.float32), shown, space, "z"))
    storage.save_masks(folder / "regions.h5", {"one": np.arange(6) < 3, "two": np.arange(6) >= 2}, space)
    split = {"stimulus_id": shown, "test_fold": np.tile(fold, 2), "group": np.tile(np.arange(n_stimuli), 2)}
    table = pd.DataFrame(split)
    storage.write_table(folder / "split.tsv", table, index=False)
    tested = np.tile(fold, 2) == 0
    return SimpleNamespace(folder=folder, Y=Y.astype(np.float32), tested=tested, shown=shown, space=space)


def fit(world: SimpleNamespace, kind: str, name: str = "fitted", **changed: Path) -> SimpleNamespace:
    names = {"responses": "responses.h5", "split": "split.tsv", "regions": "regions.h5", "features": "tokens.h5"}
    given = {key: world.folder / file for key, file in names.items()} | changed
    entry = {**ENCODERS[kind], "features": ["tokens"]}
    parameters = {"encoder": entry, "features": {"tokens": {"class": "array"}}, "average": True, "seed": 0}
    here = world.folder / f"{kind}-{name}"
    made = {
        "output": here / "encoder.safetensors",
        "card": here / "encoder.json",
        "predictions": here / "predictions.safetensors",
        "log": here / "training.csv",
    }
    fit_readout(**given, parameters=parameters, **made)
    return SimpleNamespace(folder=here, **made)
