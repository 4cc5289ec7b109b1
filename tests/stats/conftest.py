"""Small simulated responses with known truth: y = b s + sqrt(1 - b^2) e, total variance 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from brainenc.stats import chunks


@dataclass(frozen=True)
class Simulated:
    """values (n_stimuli * n_repetitions, n_targets) in passes over all stimuli; signal (n_stimuli, n_targets)."""

    values: np.ndarray
    signal: np.ndarray
    stimulus_ids: np.ndarray
    ncsnr: np.ndarray

    def means(self, repetitions: slice = slice(None)) -> np.ndarray:
        """Mean over the chosen repetitions, (n_stimuli, n_targets)."""
        return self.values.reshape(-1, *self.signal.shape)[repetitions].mean(axis=0)


@pytest.fixture
def simulate() -> Callable[..., Simulated]:
    def make(ncsnr, n_stimuli: int = 500, n_repetitions: int = 3, seed: int = 0) -> Simulated:
        rng = np.random.default_rng(seed)
        ncsnr = np.asarray(ncsnr, dtype=float)
        b = np.sqrt(ncsnr**2 / (1 + ncsnr**2))
        signal = rng.standard_normal((n_stimuli, ncsnr.size))
        noise = rng.standard_normal((n_repetitions, *signal.shape))
        values = (b * signal + np.sqrt(1 - b**2) * noise).reshape(-1, ncsnr.size)
        ids = np.tile([f"stimulus-{i:04d}" for i in range(n_stimuli)], n_repetitions)
        return Simulated(values, signal, ids, ncsnr)

    return make


@pytest.fixture
def tiny_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every chunk a few targets wide, so that chunk borders are crossed."""
    monkeypatch.setattr(chunks.target_chunks, "__defaults__", (4096, 8))
