"""What fitting one encoder needs: features as they are read, reduced and delayed, and the footprint of the solver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from brainenc import encoders
from brainenc.core.stored import ROWS
from brainenc.encoders.banded import (
    N_GAMMAS_PER_BAND,
    N_GAMMAS_TWO_BANDS,
    N_LEADERS,
    Banded,
    random_weights,
    two_band_weights,
)
from brainenc.features.reduction import BLOCK_BYTES
from pipelines.plan_features import FeatureShape
from pipelines.plan_shapes import SubjectShape
from pipelines.study import OWN_ENCODER_KEYS, class_and_arguments

IMPORTS = {
    "table": "import pipelines.score_encoder, brainenc.stats.significance, jsonschema, safetensors.numpy",
    "pictures": "import pipelines.paint_maps, matplotlib.figure, matplotlib.pyplot, nibabel",
    "torch": "import pipelines.fit_encoder, scipy.linalg, safetensors.numpy, torch",
    "himalaya": "import pipelines.fit_encoder, torch, himalaya.kernel_ridge, himalaya.ridge; "
    "from himalaya.backend import set_backend",
}
"""Kind of process -> what it loads; the calibration measures what that holds."""


LIBRARIES = 16 * 2**20
"""What h5py, safetensors and the reading thread take once they work."""

AVERAGING = 33
"""Bytes of one response while repetitions are averaged."""


@dataclass(frozen=True)
class Demand:
    """What a job needs.

    Attributes
    ----------
    start : kind of process, a key of `IMPORTS`; "" where ``ram`` and ``seconds`` hold the process itself.
    ram, vram : bytes at the peak, beyond the started process.
    before : bytes at the peak before torch is loaded, beyond a process that holds tables only.
    written : bytes left on disk.
    read, copied : bytes from disk, and through memory.
    flops32, flops64, eigh_flops : operations.
    seconds : further seconds; None where time is not predicted.
    width : targets at a time, None where there is no choice.
    bound : what bounds the further seconds.
    """

    start: str
    ram: int
    vram: int = 0
    written: int = 0
    read: int = 0
    copied: int = 0
    flops32: float = 0.0
    flops64: float = 0.0
    eigh_flops: float = 0.0
    seconds: float | None = 0.0
    width: int | None = None
    bound: str = "other"
    before: int = 0


def fit_demand(
    entry: dict[str, Any],
    bands: Sequence[FeatureShape],
    size: SubjectShape,
    n_stimuli: int,
    n_targets_batch: int | None = None,
) -> Demand:
    """Return what fitting one encoder to one subject needs.

    Parameters
    ----------
    entry : the encoder's entry in the study.
    bands : its feature spaces.
    n_targets_batch : targets at a time, instead of what the entry says.
    """
    from brainenc.encoders.footprint import footprint

    kind, arguments = class_and_arguments(entry, *OWN_ENCODER_KEYS)
    encoder: Any = encoders.build(kind, **arguments)
    n_delays = len(entry.get("delays") or [0])
    widths = [band.n_features * n_delays for band in bands]
    solver = getattr(encoder, "solver", "himalaya")
    candidates = _candidates(encoder, widths)
    held = footprint(
        size.n_train,
        widths,
        size.n_targets,
        n_folds=min(encoder.n_folds, max(size.n_groups, 2)),
        n_alphas=encoder.n_alphas if encoder.alphas == "auto" else len(encoder.alphas),
        rounds=candidates,
        solver=solver,
        cv_score=encoder.cv_score,
        n_targets_batch=n_targets_batch or encoder.n_targets_batch,
        extend=encoder.extend,
    )
    responses = reading(size, size.n_train, int(held.width))
    features, reduced_at = _features(bands, n_delays, size, n_stimuli)
    fitted = features.ram + responses + int(held.ram_bytes)
    n_fits = size.n_folds + (size.n_folds > 1)
    start = "himalaya" if solver == "himalaya" else "torch"
    p, joint = sum(widths), len(bands) > 1
    n_written = 4 * size.n_targets * (p + size.n_tested * (1 + joint * len(bands)))
    reduced = [band for band in bands if band.n_components is not None]
    written = n_written + sum(8 * band.n_stored * (band.n_components or 0) for band in reduced)
    return Demand(
        start=start,
        # Features are read and reduced before torch is loaded, but for those of later folds.
        ram=LIBRARIES + (fitted if size.n_folds == 1 else max(fitted, reduced_at)),
        before=LIBRARIES + reduced_at,
        vram=int(held.vram_bytes),
        written=written,
        read=features.read + n_fits * int(held.read_bytes) * size.n_rows // size.n_samples,
        copied=n_fits * (features.copied + AVERAGING * int(held.read_bytes) // 4),
        flops32=n_fits * held.flops32 + 2.0 * size.n_tested * size.n_targets * p * (1 + joint),
        flops64=n_fits * (held.flops64 + features.flops64),
        eigh_flops=n_fits * (held.eigh_flops + features.eigh_flops),
        width=int(held.width),
    )


def reading(size: SubjectShape, n_wanted: int, width: int) -> int:
    """Bytes of a block of responses while it is read and averaged over repetitions.

    As stored, the rows wanted, and their sums, counts and quotients.

    Parameters
    ----------
    n_wanted : samples that are read.
    width : targets that are read.
    """
    stored = min(size.n_targets, max(1, 2**18 // min(size.n_rows, 256)), width)
    n_read = size.n_rows * n_wanted // size.n_samples
    return stored * (4 * min(size.n_rows, ROWS) + 4 * n_read + AVERAGING * n_wanted)


def _candidates(encoder: Any, widths: Sequence[int]) -> list[list[int]]:
    """Features with weight in each candidate of band weights, one list a round: those given or drawn, then those near.

    A round of refinement is as large as it can get.
    """
    n_bands = len(widths)
    if not isinstance(encoder, Banded) or n_bands == 1:
        return [[sum(widths)]]
    if encoder.gammas is not None:
        gammas = np.array(encoder.gammas)
    elif n_bands == 2:
        gammas = two_band_weights(encoder.n_gammas or N_GAMMAS_TWO_BANDS)
    else:
        gammas = random_weights(encoder.n_gammas or N_GAMMAS_PER_BAND * n_bands, n_bands, encoder.seed)
    first = [int(np.sum(np.array(widths)[gamma > 0])) for gamma in gammas]
    return [first, *([[sum(widths)] * (N_LEADERS * 2 * n_bands)] * encoder.n_refinements)]


def _features(bands: Sequence[FeatureShape], n_delays: int, size: SubjectShape, n_stimuli: int) -> tuple[Demand, int]:
    """Features of all bands as the step holds them while it fits; and the most that loading and reducing them takes.

    All are loaded and aligned; of each band the designs of all samples and of the training samples are kept, and the
    components.
    """
    found = Demand("", ram=0)
    aligned, kept, most = 0, 0, 0
    for band in bands:
        loaded, mine = 4 * n_stimuli * band.n_stored, 4 * size.n_samples * band.n_stored
        most = max(most, aligned + loaded + max(loaded // 4, mine))
        aligned += mine
    for band in bands:
        n_components = band.n_components
        design = 4 * size.n_samples * band.n_features * n_delays
        learned = 4 * size.n_train * band.n_features * n_delays
        components = 8 * band.n_stored * (n_components or 0)
        small = min(band.n_stored, size.n_train)
        if n_components is not None:
            reducing = 4 * size.n_train * band.n_stored + _reducing(size.n_train, band.n_stored, n_components)
            most = max(most, aligned + kept + reducing)
        kept += components + (design if n_components is not None or n_delays > 1 else 0)
        found = replace(
            found,
            ram=found.ram + learned,
            read=found.read + 4 * n_stimuli * band.n_stored,
            copied=found.copied + 8 * (4 * size.n_samples * band.n_stored + design),
            flops64=found.flops64 + (2.0 * size.n_train * band.n_stored * small if n_components else 0.0),
            eigh_flops=found.eigh_flops + (9.0 * small**3 if n_components else 0.0),
        )
    return replace(found, ram=found.ram + aligned + kept), most


def _reducing(n_train: int, n_features: int, n_components: int) -> int:
    """Bytes that `PrincipalComponents.fit` takes: blocks as they come and centred, Gram matrix, eigenvectors."""
    small, row = min(n_train, n_features), 8 * n_features
    step = min(n_train, max(1, BLOCK_BYTES // row))
    block, last = row * step, row * (n_train % step or step)  # that of the mean is held to the end
    gram, vectors = 8 * small**2, 8 * small * n_components
    if n_features <= n_train:
        following = block if step < n_train else 0
        return last + max(2 * block + gram + max(gram, following), block + 2 * gram + vectors)
    span = row * min(n_train, max(1, 4 * BLOCK_BYTES // row))
    products = 2 * span if span == row * n_train else 4 * span + gram
    factorised = (1 if span == row * n_train else 2) * span + 2 * gram + vectors
    return last + max(products, factorised, 2 * block + gram + vectors + 2 * row * n_components)
