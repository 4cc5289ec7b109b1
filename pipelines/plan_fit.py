"""What fitting one encoder needs: features as they are read, reduced and delayed, and the footprint of the solver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from brainenc import encoders
from brainenc.core.stored import ROWS
from brainenc.encoders.banded import N_GAMMAS_PER_BAND, N_GAMMAS_TWO_BANDS, Banded
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
    held = footprint(
        size.n_train,
        widths,
        size.n_targets,
        n_folds=min(encoder.n_folds, max(size.n_groups, 2)),
        n_alphas=encoder.n_alphas if encoder.alphas == "auto" else len(encoder.alphas),
        n_gammas=_n_gammas(encoder, len(bands)) if isinstance(encoder, Banded) else 1,
        solver=solver,
        cv_score=encoder.cv_score,
        n_targets_batch=n_targets_batch or encoder.n_targets_batch,
        extend=encoder.extend,
    )
    responses = reading(size, size.n_train, int(held.width))
    features, transient = _features(bands, n_delays, size, n_stimuli)
    n_fits = size.n_folds + (size.n_folds > 1)
    start = "himalaya" if solver == "himalaya" else "torch"
    p, joint = sum(widths), len(bands) > 1
    n_written = 4 * size.n_targets * (p + size.n_tested * (1 + joint * len(bands)))
    reduced = [band for band in bands if band.n_components is not None]
    written = n_written + sum(8 * band.n_stored * (band.n_components or 0) for band in reduced)
    return Demand(
        start=start,
        # Features are read and reduced before the first response is.
        ram=LIBRARIES + features.ram + max(transient, responses + int(held.ram_bytes)),
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


def _n_gammas(encoder: Banded, n_bands: int) -> int:
    """Candidates of band weights: those given, or as many as `Banded` draws."""
    if encoder.gammas is not None:
        return len(encoder.gammas)
    if n_bands == 1:
        return 1
    drawn = encoder.n_gammas or (N_GAMMAS_TWO_BANDS if n_bands == 2 else N_GAMMAS_PER_BAND * n_bands)
    return drawn + getattr(encoder, "n_refinements", 0)


def _features(bands: Sequence[FeatureShape], n_delays: int, size: SubjectShape, n_stimuli: int) -> tuple[Demand, int]:
    """Features of all bands as the step holds them while it fits; and the bytes that loading and reducing one takes.

    All are loaded and aligned; of each band the designs of all samples and of the training samples are kept.
    """
    found = Demand("", ram=0)
    transient = 0
    for band in bands:
        loaded, aligned = 5 * n_stimuli * band.n_stored, 4 * size.n_samples * band.n_stored
        design = 4 * size.n_samples * band.n_features * n_delays
        learned = 4 * size.n_train * band.n_features * n_delays
        small = min(band.n_stored, size.n_train)
        block = min(BLOCK_BYTES, 8 * size.n_train * band.n_stored)
        pca = 0 if band.n_components is None else 3 * block + 4 * 8 * small**2
        transient = max(transient, loaded, pca)
        found = replace(
            found,
            ram=found.ram + aligned + learned + (design if pca or n_delays > 1 else 0),
            read=found.read + 4 * n_stimuli * band.n_stored,
            copied=found.copied + 8 * (aligned + design),
            flops64=found.flops64 + (2.0 * size.n_train * band.n_stored * small if pca else 0.0),
            eigh_flops=found.eigh_flops + (9.0 * small**3 if pca else 0.0),
        )
    return found, transient
