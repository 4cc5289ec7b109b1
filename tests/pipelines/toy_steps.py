"""Single steps of the toy study, run again on changed inputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from brainenc.core import storage
from pipelines.fit_encoder import fit_encoder
from pipelines.score_encoder import score_encoder


def model_of(toy: SimpleNamespace, label: str) -> Any:
    return next(model for model in toy.study.models if model.label == label)


def folder_of(toy: SimpleNamespace, label: str) -> Path:
    return toy.subject / model_of(toy, label).name


def statistics_of(toy: SimpleNamespace) -> dict[str, Any]:
    config = toy.study.config
    extra = {"average": config["responses"]["average"], "floor": config["ceiling"]["floor"], "seed": config["seed"]}
    return {**config["statistics"], **extra}


def fit(toy: SimpleNamespace, label: str, output: Path, **changed: Any) -> SimpleNamespace:
    """Fit a model of the toy into ``output``; ``changed`` replaces responses, split, features (by name), parameters."""
    model, config = model_of(toy, label), toy.study.config
    files = {name: toy.folder / "features" / f"{name}.h5" for name in model.features} | changed.pop("features", {})
    parameters = {
        "encoder": config["encoders"][model.encoder],
        "features": {name: config["features"][name] for name in model.features},
        "seed": config["seed"],
        "average": config["responses"]["average"],
        **changed.pop("parameters", {}),
    }
    inputs = {"responses": toy.subject / "responses.h5", "split": toy.subject / "split.tsv", **changed}
    made = SimpleNamespace(
        encoder=output / "encoder.safetensors",
        card=output / "encoder.json",
        predictions=output / "predictions.safetensors",
    )
    fit_encoder(inputs["responses"], inputs["split"], list(files.values()), parameters, *vars(made).values())
    return made


def score(toy: SimpleNamespace, predictions: Path, output: Path, **changed: Any) -> dict[str, np.ndarray]:
    """Score predictions against the toy's responses; maps by name."""
    inputs = {"responses": toy.subject / "responses.h5", "split": toy.subject / "split.tsv", **changed}
    parameters = statistics_of(toy)
    score_encoder(inputs["responses"], inputs["split"], toy.subject / "ceiling.h5", predictions, parameters, output)
    return values_of(output)


def values_of(path: Path) -> dict[str, np.ndarray]:
    return {name: target_map.values for name, target_map in storage.load_maps(path).items()}


def changed_responses(source: Path, output: Path, rows: np.ndarray, seed: int = 1) -> Path:
    """The responses of ``source`` with other numbers in ``rows``; what is dead or NaN stays so."""
    responses = storage.load_responses(source)
    values = np.array(responses.values)
    noise = np.random.default_rng(seed).normal(size=values[rows].shape).astype(values.dtype)
    alive = np.isfinite(values[rows]) & (np.nan_to_num(values).std(axis=0) > 0)
    values[rows] = np.where(alive, 5 * noise, values[rows])
    storage.save_responses(output, replace(responses, values=values))
    return output


def same_arrays(a: Path, b: Path) -> bool:
    """Do two safetensors files hold the same bits?"""
    first, second = storage.load_arrays(a), storage.load_arrays(b)
    return first.keys() == second.keys() and all(first[k].tobytes() == second[k].tobytes() for k in first)
