"""How a network is trained, and what a training leaves behind: plain numbers, without torch."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from brainenc.core.types import DataError


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Parameters
    ----------
    steps : int
        Updates in all.
    learning_rate : float
        At its height.
    warmup : int
        Steps of linear rise.
    schedule : {"cosine", "half_flat"}
        After warm-up a half cosine down to ``final`` of the height; or flat to the middle, then that.
    final : float
        Share of the learning rate at the end.
    weight_decay : float
        Of matrices and kernels; biases, norms and embeddings have none.
    betas, epsilon
        Of AdamW.
    clip : float, optional
        Largest norm of the gradient over all parameters.
    ema : float, optional
        Decay of the running average of the weights, such as 0.999; the average is what is validated and kept.
    bf16 : bool
        Compute the loss under bfloat16 autocast.
    validate_every, checkpoint_every, log_every : int
        In steps. The end is always validated, saved and logged.
    watch : str, optional
        The validation score, higher is better, whose best weights are kept; default those of the last step.
    patience : int, optional
        Validations without a new best before training stops; needs ``watch``.

    Raises
    ------
    DataError
        If a number is outside its range.
    """

    steps: int
    learning_rate: float
    warmup: int = 0
    schedule: Literal["cosine", "half_flat"] = "cosine"
    final: float = 0.02
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = 1e-6
    clip: float | None = 1.0
    ema: float | None = None
    bf16: bool = False
    validate_every: int = 500
    checkpoint_every: int = 500
    log_every: int = 20
    watch: str | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        sound = {
            "steps": self.steps >= 1,
            "learning_rate": self.learning_rate > 0,
            "warmup": self.warmup >= 0,
            "schedule": self.schedule in ("cosine", "half_flat"),
            "final": 0 <= self.final <= 1,
            "weight_decay": self.weight_decay >= 0,
            "clip": self.clip is None or self.clip > 0,
            "ema": self.ema is None or 0 < self.ema < 1,
            "validate_every": self.validate_every >= 1,
            "checkpoint_every": self.checkpoint_every >= 1,
            "log_every": self.log_every >= 1,
            "patience": self.patience is None or (self.patience >= 1 and self.watch is not None),
        }
        for name, is_sound in sound.items():
            if not is_sound:
                raise DataError(f"Recipe: {name} is {getattr(self, name)!r}: see the ranges in its documentation.")

    def rate(self, step: int) -> float:
        """Learning rate of a step (from 0)."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        start = self.warmup if self.schedule == "cosine" else max(self.warmup, self.steps // 2)
        done = min(max(step - start, 0) / max(self.steps - start, 1), 1.0)
        return self.learning_rate * rise * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * done)))


@dataclass(frozen=True)
class TrainingLog:
    """What happened: rows of ``log.csv``, steps done, seconds of all sessions together, best row where one is watched.

    ``rows`` hold step, loss (mean since the row before), learning_rate, seconds, the loss's own numbers, and
    ``validation_<name>`` where there was a validation.
    """

    rows: tuple[dict[str, float], ...]
    steps: int
    seconds: float
    best: dict[str, float] | None = None
    stopped_early: bool = False

    def column(self, name: str) -> list[float]:
        """The values of one column, rows without it left out."""
        return [row[name] for row in self.rows if name in row]


def joined(logs: Sequence[TrainingLog]) -> TrainingLog:
    """One log of trainings that followed each other; steps and seconds run on."""
    rows: list[dict[str, float]] = []
    steps, seconds = 0, 0.0
    for log in logs:
        for row in log.rows:
            rows.append({**row, "step": row["step"] + steps, "seconds": round(row["seconds"] + seconds, 1)})
        steps, seconds = steps + log.steps, seconds + log.seconds
    return TrainingLog(tuple(rows), steps, seconds)


def as_csv(rows: Sequence[dict[str, float]]) -> str:
    """Rows as comma-separated text; what a row lacks stays empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
