"""fit_encoder: learn features -> responses on training samples, predict the sealed ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from brainenc import encoders
from brainenc.core import storage
from brainenc.core.align import align
from brainenc.core.provenance import record
from brainenc.core.types import DataError
from brainenc.encoders.banded import Banded
from brainenc.encoders.delay import Delayer
from brainenc.features.reduction import PrincipalComponents
from pipelines.samples import Samples, load_samples
from pipelines.study import OWN_ENCODER_KEYS, class_and_arguments


def fit_encoder(
    responses: Path,
    split: Path,
    features: list[Path],
    parameters: dict[str, Any],
    output: Path,
    card: Path,
    predictions: Path,
) -> None:
    """Fit one encoder of one subject in every outer fold; test responses reach neither scaling nor selection.

    Parameters
    ----------
    responses, split : Path
    features : list of Path
        One file per band.
    parameters : dict
        ``encoder``: its entry in the study; ``features``: the entries of its feature spaces; ``average``; ``seed``.
    output : Path
        Fitted state as safetensors: of the single fold, or of a last fit to all samples after cross-validation.
    card : Path
        JSON: what the state is, how it was made, alphas and edge shares.
    predictions : Path
        Held-out predictions ``Y_hat`` (n_tested, n_targets) and ``band:<name>`` of banded encoders.
    """
    samples = load_samples(responses, split, parameters["average"])
    bands = dict(parameters["features"])
    kind, arguments = class_and_arguments(parameters["encoder"], *OWN_ENCODER_KEYS)
    if len((arguments.get("gammas") or [[]])[0]) not in (0, len(bands)):
        # A joint model without one band: the weights given for all bands say nothing of those that are left.
        arguments = {key: value for key, value in arguments.items() if key != "gammas"}
    config = (kind, arguments)
    delays = parameters["encoder"].get("delays")
    components = [entry.get("pca") for entry in bands.values()]
    if delays and samples.recording is None:
        raise DataError("study key encoders.delays: delays need a 'run' column in the samples table: add it.")
    # A delay counts recorded rows: those that were lost or are unused show their stimuli as well.
    shown = samples.recording.stimulus_ids if delays and samples.recording else samples.stimulus_ids
    X = [align(storage.load_features(path), shown) for path in features]
    folds = list(samples.split.folds())
    joint = len(bands) > 1

    held_out = {"Y_hat": np.full((len(samples.tested), samples.Y.shape[1]), np.nan, np.float32)}
    for train, test in tqdm(folds, desc="outer folds", unit="fold", disable=len(folds) == 1):
        encoder, designs, reductions = _fit(config, X, samples, train, components, delays)
        rows = np.searchsorted(samples.tested, test)
        tested = [design[test] for design in designs]
        held_out["Y_hat"][rows] = encoder.predict(tested if _takes_bands(encoder) else tested[0])
        if joint:
            for name, part in zip(bands, encoder.predict(tested, split=True), strict=True):
                held_out.setdefault(f"band:{name}", np.full_like(held_out["Y_hat"], np.nan))[rows] = part
    if len(folds) > 1:
        encoder, _, reductions = _fit(config, X, samples, np.arange(len(samples.Y)), components, delays)

    inputs = {"responses": responses, "split": split, **dict(zip(bands, features, strict=True))}
    state = dict(encoder.state())
    for name, reduction in zip(bands, reductions, strict=True):
        if reduction is not None:
            state |= {f"pca:{name}:{key}": value for key, value in reduction.state().items()}
    made = record("fit_encoder", parameters, inputs, parameters["seed"])
    storage.save_arrays(output, state, {"provenance": json.dumps(storage.plain(made))})
    storage.save_arrays(predictions, held_out, {"provenance": json.dumps(storage.plain(made))})
    storage.write_json(
        card,
        {
            "encoder": {"class": config[0], **config[1]},
            "delays": delays,
            "features": bands,
            "n_features": {name: x.shape[1] for name, x in zip(bands, X, strict=True)},
            "n_samples": len(samples.Y),
            "n_targets": samples.Y.shape[1],
            "units": samples.units,
            "folds": [{"train": len(a), "test": len(b)} for a, b in folds],
            "state_of": "all samples, after cross-validation" if len(folds) > 1 else "the training samples",
            "diagnostics": _diagnostics(encoder),
            "provenance": made,
        },
    )


def _fit(
    config: tuple[str, dict[str, Any]],
    X: list[np.ndarray],
    samples: Samples,
    train: np.ndarray,
    components: list[int | None],
    delays: list[int] | None,
) -> tuple[Any, list[np.ndarray], list[Any]]:
    """Reduce, delay and fit on the samples ``train``; returns encoder, designs of all samples, and reductions."""
    recording = samples.recording if delays else None
    designs, reductions = _reduce(X, train if recording is None else recording.kept[train], components)
    if delays and recording is not None:
        delayer = Delayer(delays)
        designs = [delayer.transform(design, recording.run)[recording.kept] for design in designs]
    encoder = encoders.build(config[0], **config[1])
    learned = [design[train] for design in designs]
    encoder.fit(learned if _takes_bands(encoder) else learned[0], samples.Y[train], groups=samples.split.group[train])
    return encoder, designs, reductions


def _reduce(X: list[np.ndarray], train: np.ndarray, components: list[int | None]) -> tuple[list[np.ndarray], list[Any]]:
    """Principal components of each band that asks for them, fitted on the rows ``train`` alone."""
    reductions = [
        None if n is None else PrincipalComponents(n).fit(x[train]) for x, n in zip(X, components, strict=True)
    ]
    return [x if r is None else r.transform(x) for x, r in zip(X, reductions, strict=True)], reductions


def _takes_bands(encoder: Any) -> bool:
    return isinstance(encoder, Banded)


def _diagnostics(encoder: Any) -> dict[str, Any]:
    """Penalties that were tried, how many targets chose each, and how many sit at an edge of the grid."""
    alpha, grid = encoder.alpha_[np.isfinite(encoder.alpha_)], np.sort(encoder.alphas_)
    nearest = np.abs(np.log(grid)[None] - np.log(alpha)[:, None]).argmin(axis=1)
    return {
        "alphas": grid,
        "alpha_shares": np.bincount(nearest, minlength=len(grid)) / max(len(alpha), 1),
        "alpha_edges": encoder.alpha_edges_,
        "extended": len(grid) > encoder.n_alphas if encoder.alphas == "auto" else len(grid) > len(encoder.alphas),
    }
