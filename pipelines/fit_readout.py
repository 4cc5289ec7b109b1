"""fit_readout: train an encoder that looks at tokens by gradient descent, and predict the sealed samples."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from brainenc import encoders
from brainenc.core import storage
from brainenc.core.align import token_grid
from brainenc.core.provenance import record
from brainenc.nn.recipe import as_csv
from pipelines.samples import Samples, load_samples
from pipelines.study import OWN_ENCODER_KEYS, class_and_arguments


def fit_readout(
    responses: Path,
    split: Path,
    regions: Path,
    features: Path,
    parameters: dict[str, Any],
    output: Path,
    card: Path,
    predictions: Path,
    log: Path,
) -> None:
    """Train one encoder of one subject in every outer fold; test responses reach neither scaling nor early stopping.

    Checkpoints lie beside ``output`` until all is done: a training that was killed goes on from the last one.

    Parameters
    ----------
    responses, split, regions : Path
    features : Path
        Token maps.
    parameters : dict
        ``encoder``: its entry in the study; ``features``: the entries of its feature spaces; ``average``; ``seed``.
    output : Path
        Fitted state as safetensors: of the single fold, or of a last fit to all samples after cross-validation.
    card : Path
        JSON: what the state is, how it was made, how its training went.
    predictions : Path
        Held-out predictions ``Y_hat`` (n_tested, n_targets).
    log : Path
        CSV: course of the training behind ``output``.
    """
    samples = load_samples(responses, split, parameters["average"])
    tokens = storage.load_features(features)
    X = token_grid(tokens, samples.stimulus_ids)
    kind, arguments = class_and_arguments(parameters["encoder"], *OWN_ENCODER_KEYS)
    arguments = {"seed": parameters["seed"], **arguments}
    places = {}
    if kind == "attention":
        places = {"regions": storage.load_masks(regions), "hemispheres": getattr(samples.space, "hemisphere", None)}
    made = record(
        "fit_readout",
        parameters,
        {"responses": responses, "split": split, "regions": regions, tokens.name: features},
        parameters["seed"],
    )
    notes = {"provenance": json.dumps(storage.plain(made))}
    folds = list(samples.split.folds())
    jobs = [train for train, _ in folds] + ([np.arange(len(samples.Y))] if len(folds) > 1 else [])
    shape = (len(samples.tested), samples.Y.shape[1])
    with (
        _training(output, made) as folder,
        storage.arrays_writer(predictions, {"Y_hat": (shape, np.float32)}, notes) as held_out,
    ):
        for number, train in enumerate(jobs):
            encoder = encoders.build(kind, **arguments)
            Y = np.asarray(samples.Y.rows(train)[:, :], np.float32)
            encoder.fit(X[train], Y, samples.split.group[train], folder=folder / f"fold-{number + 1}", **places)
            if number < len(folds):
                test = folds[number][1]
                held_out["Y_hat"][np.searchsorted(samples.tested, test), :] = encoder.predict(X[test])
        storage.save_arrays(output, encoder.state(), notes)
        # Without seconds, so that equal work gives equal bytes.
        rows = [{name: value for name, value in row.items() if name != "seconds"} for row in encoder.log_.rows]
        storage.write_text(log, as_csv(rows))
    storage.write_json(card, _card(kind, arguments, parameters, X, samples, encoder, made))


def _card(
    kind: str,
    arguments: dict[str, Any],
    parameters: dict[str, Any],
    X: np.ndarray,
    samples: Samples,
    encoder: Any,
    made: dict[str, Any],
) -> dict[str, Any]:
    folds = list(samples.split.folds())
    return {
        "encoder": {"class": kind, **arguments},
        "features": parameters["features"],
        "grid": list(X.shape[1:3]),
        "n_channels": X.shape[3],
        "n_samples": len(samples.Y),
        "n_targets": samples.Y.shape[1],
        "units": samples.units,
        "folds": [{"train": len(a), "test": len(b)} for a, b in folds],
        "state_of": "all samples, after cross-validation" if len(folds) > 1 else "the training samples",
        "diagnostics": {
            "epochs": len(encoder.log_.column("validation_correlation")),
            "best_epoch": round(encoder.log_.best["step"] / encoder.log_.rows[0]["step"]),
            "validation_correlation": encoder.log_.best["correlation"],
            "stopped_early": encoder.log_.stopped_early,
        },
        "provenance": made,
    }


@contextmanager
def _training(output: Path, made: dict[str, Any]) -> Iterator[Path]:
    """A folder for checkpoints that only the same inputs and parameters find again; gone once all is written."""
    told = {name: made[name] for name in ("parameters", "inputs", "seed")}
    name = sha256(json.dumps(storage.plain(told), sort_keys=True).encode()).hexdigest()[:12]
    folder = output.parent / f"training-{name}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
    for older in output.parent.glob("training-*"):
        shutil.rmtree(older, ignore_errors=True)
