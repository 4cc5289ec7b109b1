"""Tasks from which an in-context encoder learns to learn: one target each, with context pairs and queries.

    simulated:  y_i = w . x_i + b + noise,   w drawn, x_i embeddings of real stimuli
    measured:   the responses of one target of one training subject

A source draws everything from the generator it is given, so the same generator gives the same tasks. Context and query
stimuli of a task never overlap. Queries of simulated targets are free of noise: that moves no minimum of the squared
error, only takes variance out of its gradient.

Source: BraInCoRL, Yu et al. 2025, arXiv:2505.15813.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from brainenc.core.types import DataError

Weights = Callable[[int, torch.Generator], Tensor]
"""(n_targets, generator) -> weights (n_targets, embedding + 1), the last one the intercept."""


@dataclass(frozen=True)
class Tasks:
    """A batch of targets.

    Parameters
    ----------
    X : (n_targets, n_context, embedding) float32, context stimuli.
    Y : (n_targets, n_context) float32, responses to them.
    X_query, Y_query : (n_targets, n_query, embedding), (n_targets, n_query), to be predicted.
    rows, query_rows : (n_targets, n_context), (n_targets, n_query) int64, which stimuli of the source these are.
    """

    X: Tensor
    Y: Tensor
    X_query: Tensor
    Y_query: Tensor
    rows: Tensor
    query_rows: Tensor


class TaskSource(Protocol):
    """Where tasks come from."""

    @property
    def n_stimuli(self) -> int:
        """Most stimuli that every task can have, context and queries together."""

    def draw(self, n_targets: int, n_context: int, n_query: int, generator: torch.Generator) -> Tasks:
        """Return new tasks, a function of the arguments alone."""


def check_unit_norm(X: Any, owner: str) -> np.ndarray:
    """Return embeddings (n_stimuli, embedding) as float32.

    Raises
    ------
    DataError
        If they are no finite matrix or a row's norm is off 1 by more than 1e-3.
    """
    X = np.asarray(X)
    if X.ndim != 2 or 0 in X.shape or X.dtype.kind not in "fiu":
        raise DataError(f"{owner}: X is {X.dtype} {X.shape}, wanted numbers (n_stimuli, n_channels): pass embeddings.")
    norms = np.linalg.norm(X.astype(np.float64), axis=1)
    off = ~(np.abs(norms - 1.0) < 1e-3)
    if off.any():
        row = int(np.argmax(off))
        raise DataError(
            f"{owner}: {off.sum()} of {len(X)} embeddings are not of unit norm (row {row} has {norms[row]:.4g}), "
            "wanted 1: divide each row by its norm (in_context.unit_rows)."
        )
    return np.ascontiguousarray(X, dtype=np.float32)


class GaussianWeights:
    """``w ~ N(0, I)``, ``b ~ N(0, bias_sd^2)``, scaled to a response variance of 1 over the stimuli ``X``."""

    def __init__(self, X: Any, bias_sd: float = 0.1) -> None:
        self._X, self._bias_sd = torch.from_numpy(check_unit_norm(X, "GaussianWeights")), bias_sd

    def __call__(self, n_targets: int, generator: torch.Generator) -> Tensor:
        """Return (n_targets, embedding + 1)."""
        weights = torch.randn(n_targets, self._X.shape[1], generator=generator)
        responses = weights @ self._X.T
        scale = responses.std(dim=1, keepdim=True).clamp_min(1e-6)
        # Responses are z-scored where they are measured, so their mean is near 0 for simulated targets, too.
        intercept = -responses.mean(dim=1, keepdim=True) / scale
        intercept = intercept + self._bias_sd * torch.randn(n_targets, 1, generator=generator)
        return torch.cat([weights / scale, intercept], dim=1)


class SimulatedTargets:
    """Targets of which the truth is drawn.

    Parameters
    ----------
    X : (n_stimuli, embedding) unit-norm embeddings of real stimuli.
    weights : (n_targets, generator) -> (n_targets, embedding + 1)
        What the population of targets is like; default `GaussianWeights` of these stimuli.
    ncsnr : (lowest, highest), standard deviation of signal over noise of a single presentation, drawn per target.
    n_repetitions : presentations that a response is the mean of.
    unit : "presentation": a single presentation has variance 1, as responses z-scored within a session have before
        they are averaged; "as drawn": the weights are taken as they are, with noise of variance
        ``1 / (n_repetitions (1 + ncsnr^2))``.

    Raises
    ------
    DataError
        If embeddings are not of unit norm or a number is outside its range.
    """

    def __init__(
        self,
        X: Any,
        weights: Weights | None = None,
        ncsnr: tuple[float, float] = (0.2, 1.0),
        n_repetitions: int = 3,
        unit: str = "presentation",
    ) -> None:
        if not 0 < ncsnr[0] <= ncsnr[1] or n_repetitions < 1 or unit not in ("presentation", "as drawn"):
            raise DataError(
                f"SimulatedTargets: ncsnr {ncsnr}, n_repetitions {n_repetitions}, unit {unit!r}; wanted 0 < lowest <= "
                "highest, at least 1, and 'presentation' or 'as drawn': change them."
            )
        self._X = torch.from_numpy(check_unit_norm(X, "SimulatedTargets"))
        self._weights = GaussianWeights(X) if weights is None else weights
        self._ncsnr, self._n_repetitions, self._unit = ncsnr, n_repetitions, unit

    @property
    def n_stimuli(self) -> int:
        return len(self._X)

    def draw(self, n_targets: int, n_context: int, n_query: int, generator: torch.Generator) -> Tasks:
        """Return new targets, each with stimuli of its own; queries without noise."""
        _check_sizes(n_context, n_query, self.n_stimuli, "SimulatedTargets")
        weights = self._weights(n_targets, generator)
        low, high = self._ncsnr
        ncsnr = low + (high - low) * torch.rand(n_targets, 1, generator=generator)
        if self._unit == "presentation":
            weights = weights * (ncsnr / (1 + ncsnr**2).sqrt())
        noise_sd = (1 / (self._n_repetitions * (1 + ncsnr**2))).sqrt()
        order = torch.rand(n_targets, self.n_stimuli, generator=generator).topk(n_context + n_query, dim=1).indices
        X = self._X[order]
        Y = torch.einsum("te,tse->ts", weights[:, :-1], X) + weights[:, -1:]
        context, query = slice(0, n_context), slice(n_context, None)
        Y_context = Y[:, context] + noise_sd * torch.randn(n_targets, n_context, generator=generator)
        return Tasks(X[:, context], Y_context, X[:, query], Y[:, query], order[:, context], order[:, query])


@dataclass(frozen=True)
class MeasuredSubject:
    """What one subject saw and how its targets responded.

    Parameters
    ----------
    subject : str
    stimulus_ids : (n_stimuli,) unique strings.
    X : (n_stimuli, embedding) unit-norm embeddings.
    Y : (n_stimuli, n_targets) responses, z-scored per target; NaN where missing. May stay on disk: anything with
        ``shape`` and ``Y[:, a:b]``.

    Raises
    ------
    DataError
        If rows do not match, ids repeat or embeddings are not of unit norm.
    """

    subject: str
    stimulus_ids: Sequence[str]
    X: np.ndarray
    Y: Any

    def __post_init__(self) -> None:
        X = check_unit_norm(self.X, f"subject {self.subject}")
        ids = [str(name) for name in self.stimulus_ids]
        n_rows = (len(ids), len(X), self.Y.shape[0])
        if len(set(n_rows)) > 1 or len(self.Y.shape) != 2:
            raise DataError(
                f"subject {self.subject} has {n_rows[0]} stimulus ids, {n_rows[1]} embeddings and responses of shape "
                f"{tuple(self.Y.shape)}, wanted a row for each stimulus: align them by stimulus id."
            )
        if len(set(ids)) < len(ids):
            raise DataError(f"subject {self.subject} has repeated stimulus ids, wanted each once: average repetitions.")
        object.__setattr__(self, "X", X)
        object.__setattr__(self, "stimulus_ids", tuple(ids))


class MeasuredTargets:
    """Targets of real subjects, drawn with equal chance among all targets of all of them.

    Parameters
    ----------
    subjects : of `MeasuredSubject`.

    Raises
    ------
    DataError
        If there are none, or their embeddings differ in size.
    """

    def __init__(self, subjects: Sequence[MeasuredSubject]) -> None:
        sizes = {one.X.shape[1] for one in subjects}
        if len(sizes) != 1:
            raise DataError(
                f"MeasuredTargets got {len(subjects)} subjects with embeddings of {sorted(sizes)} channels, wanted at "
                "least one subject and one size: use one extractor for all."
            )
        self.subjects = tuple(subjects)
        self._ends = np.cumsum([one.Y.shape[1] for one in subjects])

    @property
    def n_stimuli(self) -> int:
        return min(len(one.X) for one in self.subjects)

    def draw(self, n_targets: int, n_context: int, n_query: int, generator: torch.Generator) -> Tasks:
        """Return targets with finite responses to that many stimuli.

        Raises
        ------
        DataError
            If a drawn target has too few finite responses.
        """
        _check_sizes(n_context, n_query, self.n_stimuli, "MeasuredTargets")
        numbers = torch.randint(int(self._ends[-1]), (n_targets,), generator=generator).numpy()
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for number in numbers:
            owner = int(np.searchsorted(self._ends, number, side="right"))
            one, column = self.subjects[owner], int(number - (self._ends[owner - 1] if owner else 0))
            y = torch.from_numpy(np.asarray(one.Y[:, column : column + 1])[:, 0].astype(np.float32))
            finite = torch.isfinite(y)
            if int(finite.sum()) < n_context + n_query:
                raise DataError(
                    f"subject {one.subject}, target {column} has {int(finite.sum())} finite responses, wanted "
                    f"{n_context + n_query}: leave the target out or ask for fewer context stimuli."
                )
            chance = torch.rand(len(y), generator=generator).masked_fill(~finite, -1.0)
            rows = chance.topk(n_context + n_query).indices
            parts.append((torch.from_numpy(one.X)[rows], y[rows], rows))
        X, Y, order = (torch.stack(stack) for stack in zip(*parts, strict=True))
        context, query = slice(0, n_context), slice(n_context, None)
        return Tasks(X[:, context], Y[:, context], X[:, query], Y[:, query], order[:, context], order[:, query])


def _check_sizes(n_context: int, n_query: int, n_stimuli: int, owner: str) -> None:
    if n_context < 1 or n_query < 1 or n_context + n_query > n_stimuli:
        raise DataError(
            f"{owner}: {n_context} context and {n_query} query stimuli of {n_stimuli} were asked for, wanted at least "
            "one each and no more than there are: ask for fewer, or give more stimuli."
        )
