"""read_attention: where in the tested pictures each query of an attention encoder looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from brainenc import encoders
from brainenc.core import storage
from brainenc.core.align import rows_of, token_grid
from brainenc.core.layout import atomic_path
from brainenc.core.provenance import record
from brainenc.encoders.attention import centroids
from pipelines.samples import load_samples

N_PICTURES, N_QUERIES = 6, 6  # that are drawn
MOST_MAPS = 64  # that are kept, where every target has a query


def read_attention(
    stimuli: Path,
    responses: Path,
    split: Path,
    features: Path,
    encoder: Path,
    card: Path,
    parameters: dict[str, Any],
    output: Path,
    picture: Path,
) -> None:
    """Store the attention maps of the tested stimuli, and draw some over their pictures.

    Parameters
    ----------
    stimuli, responses, split : Path
    features : Path
        Token maps.
    encoder, card : Path
        As `fit_readout` wrote them.
    parameters : dict
        ``average``.
    output : Path
        Safetensors: ``maps`` (n_stimuli, n_queries, rows, columns), each summing to 1; ``centroids``
        (n_stimuli, n_queries, 2), x and y as shares of the picture; names of stimuli and queries in its notes.
    picture : Path
        PNG.
    """
    samples = load_samples(responses, split, parameters["average"])
    shown = np.array(sorted(set(samples.stimulus_ids[samples.tested])), object)
    config, state = dict(storage.read_json(card)["encoder"]), storage.load_arrays(encoder)
    fitted: Any = encoders.resolve(config.pop("class")).from_state(config, state)
    X = token_grid(storage.load_features(features), shown)
    chosen, names = _chosen(fitted)
    maps = fitted.maps(X, chosen)
    inputs = {"split": split, "features": features, "encoder": encoder}
    notes = {
        "stimuli": json.dumps(list(shown)),
        "queries": json.dumps(names),
        "provenance": json.dumps(storage.plain(record("read_attention", parameters, inputs))),
    }
    storage.save_arrays(output, {"maps": maps, "centroids": centroids(maps).astype(np.float32)}, notes)
    some = np.linspace(0, len(shown) - 1, min(N_PICTURES, len(shown))).round().astype(int)
    table = storage.load_stimuli(stimuli).table
    rows = table.iloc[rows_of(shown[some], table.index.to_numpy(object), "stimulus table")]
    images = [_image(path) for path in rows["path"]] if "path" in table else [None] * len(some)
    figure = overlay_figure(images, maps[some, :N_QUERIES], names[:N_QUERIES])
    with atomic_path(picture) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})


def _chosen(fitted: Any) -> tuple[list[int], list[str]]:
    """Queries and their names, those first whose targets were predicted best in validation."""
    r = fitted.validation_correlation_
    if fitted.query_names_:
        mean = [np.nanmean(r[members]) if np.isfinite(r[members]).any() else -1.0 for members in fitted.membership_]
        order = np.argsort(mean, kind="stable")[::-1]
        return [int(q) for q in order], [fitted.query_names_[q] for q in order]
    order = np.argsort(np.where(np.isfinite(r), r, -1.0), kind="stable")[::-1][:MOST_MAPS]
    return [int(q) for q in order], [f"target {q}" for q in order]


def _image(path: str) -> np.ndarray | None:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError):  # a film, say: the maps are shown alone
        return None


def overlay_figure(images: list[np.ndarray | None], maps: np.ndarray, names: list[str]) -> Any:
    """Pictures in the first row, below them where each query looks.

    Parameters
    ----------
    images : n_pictures arrays (height, width, 3) of uint8, or None where there is no picture.
    maps : (n_pictures, n_queries, rows, columns)
    names : n_queries str
    """
    from matplotlib.figure import Figure

    n_pictures, n_queries, *grid = maps.shape
    times = maps * (grid[0] * grid[1])  # 1: as if it looked everywhere alike
    top = float(max(2.0, np.percentile(times, 99.5)))
    figure = Figure(figsize=(1.35 * n_pictures + 1.9, 1.35 * (n_queries + 1) + 0.3), layout="constrained")
    axes = figure.subplots(n_queries + 1, n_pictures, squeeze=False)
    drawn = None
    for column, image in enumerate(images):
        for row in range(n_queries + 1):
            place = axes[row, column]
            place.set(xticks=[], yticks=[])
            place.spines[:].set_visible(False)
            if image is not None:
                grey = image.mean(axis=2, keepdims=True).repeat(3, axis=2) / 255
                place.imshow(image if row == 0 else 0.35 + 0.65 * grey, extent=(0, 1, 1, 0))
            if row:
                look = times[column, row - 1]
                opacity = 0.85 * np.clip(look / top, 0, 1) if image is not None else 1.0
                drawn = place.imshow(
                    look, cmap="viridis", vmin=0, vmax=top, alpha=opacity, extent=(0, 1, 1, 0), interpolation="nearest"
                )
    for row, name in enumerate(["picture", *names]):
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=axes[1:, :], fraction=0.03, pad=0.02)
        bar.set_label("attention (times an even share)", fontsize=9)
        bar.solids.set_alpha(1)
    return figure
