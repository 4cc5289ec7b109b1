"""read_receptive_fields: where in the picture each target of a Gaussian readout looks, as maps of the cortex."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from brainenc import encoders
from brainenc.core import storage
from brainenc.core.provenance import record
from brainenc.core.types import TargetMap


def read_receptive_fields(
    responses: Path, encoder: Path, card: Path, scores: Path, parameters: dict[str, Any], output: Path
) -> None:
    """Write place and size of the receptive fields of the targets that the encoder predicts.

    Parameters
    ----------
    responses : Path
        For the space of the targets.
    encoder, card : Path
        As `fit_readout` wrote them.
    scores : Path
    parameters : dict
        ``degrees``: width of the picture in degrees of visual angle, or None for shares of its width; ``fdr``.
    output : Path
        Maps ``x`` (to the right), ``y`` (up), ``size`` (sigma), ``eccentricity``, and ``polar_angle`` (degrees,
        counter-clockwise from the right); NaN where the score is not significant.
    """
    config = dict(storage.read_json(card)["encoder"])
    fitted: Any = encoders.resolve(config.pop("class")).from_state(config, storage.load_arrays(encoder))
    fields = fitted.receptive_fields(parameters["degrees"])
    space = storage.open_responses(responses).space
    predicted = storage.load_maps(scores)["q_value"].values <= parameters["fdr"]
    unit = "share of the picture's width" if parameters["degrees"] is None else "degrees"
    read = {
        "x": (fields.x, "receptive field centre to the right", unit),
        "y": (fields.y, "receptive field centre upwards", unit),
        "size": (fields.size, "receptive field size (sigma)", unit),
        "eccentricity": (fields.eccentricity, "receptive field eccentricity", unit),
        "polar_angle": (fields.angle, "polar angle", "degrees, counter-clockwise from the right"),
    }
    maps = {
        name: TargetMap(np.where(predicted, values, np.nan).astype(np.float32), space, *words)
        for name, (values, *words) in read.items()
    }
    inputs = {"responses": responses, "encoder": encoder, "scores": scores}
    storage.save_maps(output, maps, record("read_receptive_fields", parameters, inputs))
