"""One training of a neural encoder as the loop wants it: rows that learn and validate, batches, loss, score, recipe."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brainenc.core.types import DataError
from brainenc.encoders.folds import check_groups, inner_folds
from brainenc.encoders.scaling import correlation_of_present

if TYPE_CHECKING:
    from torch import Tensor

    from brainenc.encoders.neural import NeuralEncoder
    from brainenc.nn.recipe import Recipe


@dataclass(frozen=True)
class Rows:
    """Samples that learn, and those of the inner fold that validates; both (n,) int."""

    train: np.ndarray
    validation: np.ndarray


@dataclass
class Work:
    """What `brainenc.nn.training.train` asks of an encoder.

    Parameters
    ----------
    encoder : NeuralEncoder
        With its network and scales.
    maps : list of (n_samples, rows, columns, n_channels)
        As they came.
    Y : (n_samples, n_targets) float32, standardised, NaN where missing.
    rows : Rows
    """

    encoder: NeuralEncoder
    maps: list[np.ndarray]
    Y: np.ndarray
    rows: Rows

    @property
    def steps_per_epoch(self) -> int:
        """Updates that see every training row once; the batches are as equal as can be."""
        return -(-len(self.rows.train) // self.encoder.batch_size)

    def recipe(self) -> Recipe:
        """Constant learning rate, AdamW's usual moments, a validation and a checkpoint after each epoch."""
        from brainenc.nn.recipe import Recipe

        encoder, steps = self.encoder, self.steps_per_epoch
        return Recipe(
            steps=encoder.epochs * steps,
            learning_rate=encoder.learning_rate,
            final=1.0,
            weight_decay=encoder.weight_decay,
            betas=(0.9, 0.999),
            epsilon=1e-8,
            clip=encoder.clip,
            bf16=encoder.bf16,
            validate_every=steps,
            checkpoint_every=steps,
            log_every=steps,
            watch="correlation",
            patience=encoder.patience,
        )

    def loss(self, step: int, generator: Any) -> tuple[Tensor, dict[str, float]]:
        """Batches walk through the rows in an order that is drawn anew for each epoch from (seed, epoch)."""
        import torch

        epoch, turn = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.encoder.seed, epoch]).permutation(self.rows.train)
        batch = np.sort(np.array_split(order, self.steps_per_epoch)[turn])
        inputs = self.encoder._tensors(self.maps, batch)
        Y = torch.from_numpy(self.Y[batch]).to(inputs[0].device)
        return self.encoder._loss(self.encoder.network_(*inputs).float(), Y), {}

    def correlation(self) -> np.ndarray:
        """Correlation of each target on the validation rows, (n_targets,)."""
        predicted = self.encoder._through(self.maps, self.rows.validation, self.encoder.network_)
        return correlation_of_present(self.Y[self.rows.validation], predicted)

    def validate(self) -> dict[str, float]:
        """Mean correlation over the targets where it is defined."""
        r = self.correlation()
        return {"correlation": float(np.nanmean(r)) if np.isfinite(r).any() else 0.0}

    def digest(self) -> str:
        """Of responses, split, scales and some samples: another data set, order, fold or region gives another."""
        arrays = {**self.encoder.scaling_.state(), **self.encoder._own_state(), "Y": self.Y, **asdict(self.rows)}
        some = self.rows.train[:: max(1, len(self.rows.train) // 64)]
        arrays |= {f"map/{i}": x[some] for i, x in enumerate(self.maps)}
        text = hashlib.sha256()
        for name in sorted(arrays):
            text.update(name.encode())
            text.update(np.ascontiguousarray(arrays[name]).data)
        return text.hexdigest()[:16]


def inner_split(Y: np.ndarray, groups: Any, n_folds: int, seed: int) -> Rows:
    """Deal the rows that hold a response into inner folds; fold ``seed`` modulo their number validates.

    Raises
    ------
    DataError
        If too few rows hold a response or the groups allow no folds.
    """
    used = np.flatnonzero(np.isfinite(Y).any(axis=1))
    if len(used) < 4:
        raise DataError(f"Y has {len(used)} rows with finite values, wanted many: check the responses.")
    labels = None if groups is None else check_groups(groups, len(Y))[used]
    folds = inner_folds(len(used), labels, min(n_folds, len(used) // 2))
    train, validation = folds[seed % len(folds)]
    return Rows(used[train], used[validation])
