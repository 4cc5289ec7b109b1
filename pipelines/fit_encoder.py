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
from brainenc.core.stored import StoredMatrix, column_blocks, scratch
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
        One file per band; each says which feature space it holds.
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
    bands = _bands(features, parameters["features"])
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

    inputs = {"responses": responses, "split": split, **dict(zip(bands, features, strict=True))}
    made = record("fit_encoder", parameters, inputs, parameters["seed"])
    notes = {"provenance": json.dumps(storage.plain(made))}
    names = ["Y_hat", *(f"band:{name}" for name in bands if joint)]
    shape = (len(samples.tested), samples.Y.shape[1])
    with storage.arrays_writer(predictions, dict.fromkeys(names, (shape, np.float32)), notes) as held_out:
        for train, test in tqdm(folds, desc="outer folds", unit="fold", disable=len(folds) == 1):
            encoder, designs, reductions = _fit(config, X, samples, train, components, delays, output)
            rows = np.searchsorted(samples.tested, test)
            _predict(encoder, [design[test] for design in designs], held_out, rows)
    if len(folds) > 1:
        everything = np.arange(len(samples.Y))
        encoder, _, reductions = _fit(config, X, samples, everything, components, delays, output)

    state = dict(encoder.state())
    for name, reduction in zip(bands, reductions, strict=True):
        if reduction is not None:
            state |= {f"pca:{name}:{key}": value for key, value in reduction.state().items()}
    storage.save_arrays(output, state, notes)
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


def _bands(features: list[Path], entries: dict[str, Any]) -> dict[str, Any]:
    """Entries of the feature spaces in the order of their files: a mapping that came as JSON has lost its own."""
    names = [storage.features_name(path) for path in features]
    if sorted(names) != sorted(entries):
        raise DataError(
            f"feature files hold {', '.join(names)}, but the parameters speak of {', '.join(entries)}: give one file "
            "for each."
        )
    return {name: entries[name] for name in names}


def _fit(
    config: tuple[str, dict[str, Any]],
    X: list[np.ndarray],
    samples: Samples,
    train: np.ndarray,
    components: list[int | None],
    delays: list[int] | None,
    output: Path,
) -> tuple[Any, list[np.ndarray], list[Any]]:
    """Reduce, delay and fit on the samples ``train``; returns encoder, designs of all samples, and reductions.

    An encoder that streams gets a place on disk beside ``output`` for its coefficients, which is gone when it is.
    """
    recording = samples.recording if delays else None
    designs, reductions = _reduce(X, train if recording is None else recording.kept[train], components)
    if delays and recording is not None:
        delayer = Delayer(delays)
        designs = [delayer.transform(design, recording.run)[recording.kept] for design in designs]
    encoder = encoders.build(config[0], **config[1])
    learned = [design[train] for design in designs]
    place = {}
    if _streams(encoder):
        n_features = sum(design.shape[1] for design in learned)
        place["coef"] = scratch(output, (n_features, samples.Y.shape[1]))
    given = learned if _takes_bands(encoder) else learned[0]
    encoder.fit(given, samples.Y.rows(train), groups=samples.split.group[train], **place)
    return encoder, designs, reductions


def _predict(encoder: Any, tested: list[np.ndarray], held_out: dict[str, StoredMatrix], rows: np.ndarray) -> None:
    """Write the predictions for the tested samples of a fold, whole and by band, as they come."""
    given = tested if _takes_bands(encoder) else tested[0]
    parts = [name for name in held_out if name.startswith("band:")]
    n_rows, n_targets = len(rows) * len(held_out), held_out["Y_hat"].shape[1]
    every: list[dict[str, slice]] = [{}]
    if _streams(encoder):
        tallest = max(n_rows, sum(design.shape[1] for design in tested))  # predictions or coefficients
        every = [{"targets": columns} for columns in column_blocks((tallest, n_targets))]
    for only in every:
        at = rows, only.get("targets", slice(None))
        held_out["Y_hat"][at] = encoder.predict(given, **only)
        if parts:
            for name, part in zip(parts, encoder.predict(given, split=True, **only), strict=True):
                held_out[name][at] = part


def _reduce(X: list[np.ndarray], train: np.ndarray, components: list[int | None]) -> tuple[list[np.ndarray], list[Any]]:
    """Principal components of each band that asks for them, fitted on the rows ``train`` alone."""
    reductions = [
        None if n is None else PrincipalComponents(n).fit(x[train]) for x, n in zip(X, components, strict=True)
    ]
    return [x if r is None else r.transform(x) for x, r in zip(X, reductions, strict=True)], reductions


def _takes_bands(encoder: Any) -> bool:
    return isinstance(encoder, Banded)


def _streams(encoder: Any) -> bool:
    """Does it write coefficients block by block, and predict some targets at a time?"""
    return bool(getattr(encoder, "streams", False))


def _diagnostics(encoder: Any) -> dict[str, Any]:
    """Penalties that were tried, how many targets chose each, and how many sit at an edge of the grid."""
    alpha, grid = encoder.alpha_[np.isfinite(encoder.alpha_)], np.sort(encoder.alphas_)
    chosen, counts = np.unique(alpha, return_counts=True)
    nearest = np.abs(np.log(grid)[None] - np.log(chosen)[:, None]).argmin(axis=1)
    return {
        "alphas": grid,
        "alpha_shares": np.bincount(nearest, counts, minlength=len(grid)) / max(len(alpha), 1),
        "alpha_edges": encoder.alpha_edges_,
        "extended": len(grid) > encoder.n_alphas if encoder.alphas == "auto" else len(grid) > len(encoder.alphas),
    }
