"""Real data from the local folder beside the checkout, laid out as studies that users would write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"


def real_data(name: str) -> Path:
    """Path of a real data set; skips the test where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"real data {name} are not on this machine")
    return path


def run(config: dict[str, Any], folder: Path) -> Path:
    """Run a study to its end with the command that users type; returns its folder of results."""
    study = folder / "study.yaml"
    study.write_text(yaml.safe_dump({**config, "results": str(folder / "results")}), encoding="utf-8")
    command = [sys.executable, "-m", "pipelines.cli", "run", str(study), "--cores", "2", "--quiet", "all"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return folder / "results" / config["study"]


def region_scores(results: Path, subject: str = "01") -> pd.DataFrame:
    """Correlation by region (rows) and model (columns)."""
    table = pd.read_csv(results / f"sub-{subject}" / "regions.tsv", sep="\t", na_values="n/a")
    return table.pivot(index="region", columns="model", values="correlation")


def object2vec_study(folder: Path) -> dict[str, Any]:
    """81 object categories, one subject's responses; AlexNet, word2vec and MiniLM as feature spaces."""
    source = real_data("fmri/object2vec81/object2vec81.npz")
    data = np.load(source)
    root = folder / "object2vec"
    root.mkdir()
    ids = pd.Series(data["category"].astype(str), name="stimulus_id")
    stimuli = pd.DataFrame({"text": "a photograph of a " + ids.str.replace("_", " ")}).set_index(ids)
    for name in ("alexnet", "word2vec"):
        for i, column in enumerate(data[f"{name}_pc"].T):
            stimuli[f"{name}_{i:02d}"] = column
    stimuli.to_csv(root / "stimuli.tsv", sep="\t")
    np.save(root / "sub-01_responses.npy", data["betas"])
    ids.to_frame().to_csv(root / "sub-01_samples.tsv", sep="\t", index=False)
    names = data["roi_name"].astype(str)[data["roi_index"] - 1]
    pd.DataFrame({"region": names}).to_csv(root / "sub-01_regions.tsv", sep="\t", index=False)
    return {
        "study": "object2vec",
        "dataset": {
            "class": "folder",
            "root": str(root),
            "regions": "sub-{subject}_regions.tsv",
            "units": "GLM beta",
        },
        "subjects": ["01"],
        "split": {"class": "stimulus", "n_folds": 5, "seed": 0},
        "features": {
            "alexnet": {"class": "table", "columns": ["alexnet_*"]},
            "word2vec": {"class": "table", "columns": ["word2vec_*"]},
            "sentences": {"class": "sentence"},
        },
        "encoders": {"ridge": {"class": "ridge", "standardise": False, "n_alphas": 12}},
        "comparisons": [["ridge/alexnet", "ridge/word2vec"]],
        "statistics": {"n_permutations": 500, "n_bootstrap": 500},
        "surface": {"mesh": None},
    }


def card(results: Path, model: str, subject: str = "01") -> dict[str, Any]:
    """The encoder's card."""
    return json.loads((results / f"sub-{subject}" / model / "encoder.json").read_text())


def miyawaki_study(folder: Path) -> dict[str, Any]:
    """Contrast figures on a 28 x 28 grid, their pixels as features; 107 blocks to learn from, 12 to predict."""
    data = np.load(real_data("fmri/miyawaki2008/miyawaki2008_figures.npz"))
    root = folder / "miyawaki"
    root.mkdir()
    parts = ("train", "test")
    ids = [f"{part}-{i:03d}" for part in parts for i in range(len(data[f"responses_{part}"]))]
    table = pd.DataFrame({"split": [name.split("-")[0] for name in ids]}, index=pd.Index(ids, name="stimulus_id"))
    table.to_csv(root / "stimuli.tsv", sep="\t")
    table.index.to_frame().to_csv(root / "sub-01_samples.tsv", sep="\t", index=False)
    np.save(root / "sub-01_responses.npy", np.concatenate([data[f"responses_{part}"] for part in parts]))
    np.save(root / "pixels.npy", np.concatenate([data[f"stimuli_{part}"] for part in parts]))
    pixels = {"class": "array", "path": str(root / "pixels.npy"), "ids_table": str(root / "stimuli.tsv")}
    return {
        "study": "miyawaki",
        "dataset": {"class": "folder", "root": str(root)},
        "subjects": ["01"],
        "split": {"class": "column"},
        "features": {"pixels": pixels},
        "encoders": {"ridge": {"class": "ridge", "standardise": False, "cv_score": "correlation"}},
        "statistics": {"n_permutations": 200, "n_bootstrap": 200},
        "surface": {"mesh": None},
    }


def haxby_study() -> dict[str, Any]:
    """Raw BOLD and events of twelve runs to one beta per category and run; categories as features."""
    categories = ["bottle", "cat", "chair", "face", "house", "scissors", "scrambledpix", "shoe"]
    return {
        "study": "haxby",
        "dataset": {
            "class": "bids_bold",
            "root": str(real_data("fmri/haxby2001_bids")),
            "task": "objectviewing",
            "mask": "mask_530vox.nii.gz",
            "estimate": "condition_per_run",
            "onset_shift": -5.0,  # the labels of this release already include the haemodynamic delay
        },
        "subjects": ["1"],
        "split": {"class": "run", "stimuli_recur": True},
        "responses": {"within": "run", "zscore": True, "average": False},
        "features": {"category": {"class": "table", "columns": ["text"], "levels": {"text": categories}}},
        "encoders": {"ridge": {"class": "ridge"}},
        "statistics": {"n_permutations": 200, "n_bootstrap": 200},
        "surface": {"mesh": None},
    }
