"""The three contracts, without code: what a data set, an extractor and an estimator must offer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from brainenc.core.types import Responses, StimulusSet


@runtime_checkable
class Dataset(Protocol):
    """A raw release turned into stimuli and responses; the constructor is its configuration."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subject names such as ``"01"``."""

    def check(self) -> None:
        """Raise `DataError` for whatever would fail later; seconds, no fitting."""

    def stimuli(self, folder: Path) -> StimulusSet:
        """All stimuli. A data set that makes its own pictures writes them below ``folder``; others ignore it."""

    def responses(self, subject: str) -> Responses:
        """Responses of one subject, values possibly still on disk."""

    def regions(self, subject: str) -> dict[str, np.ndarray]:
        """Region name -> boolean mask (n_targets,)."""


@runtime_checkable
class Extractor(Protocol):
    """Stimuli -> features: a network together with its own preprocessing."""

    name: str

    def extract(self, stimuli: StimulusSet, batch_size: int = 64) -> Iterator[np.ndarray]:
        """Yield (batch, *axes, n_channels) float32 in row order."""

    def fingerprint(self) -> dict[str, Any]:
        """What decides the numbers: class, arguments, weights checksum, versions."""


@runtime_checkable
class Estimator(Protocol):
    """scikit-learn's contract: the constructor is the configuration, fitted state ends in ``_``."""

    def fit(self, X: Any, Y: np.ndarray, groups: np.ndarray | None = None) -> Self:
        """Learn from X (n_samples, n_features), or a list of bands, and Y (n_samples, n_targets)."""

    def predict(self, X: Any) -> np.ndarray:
        """Predict (n_samples, n_targets)."""

    def score(self, X: Any, Y: np.ndarray) -> np.ndarray:
        """r2 per target, shape (n_targets,), not clipped."""

    def state(self) -> dict[str, np.ndarray]:
        """Fitted arrays, ready for safetensors."""

    @classmethod
    def from_state(cls, config: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> Self:
        """Rebuild a fitted estimator."""
