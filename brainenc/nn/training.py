"""The one training loop of the project: step t of seed s does the same on every run, so a killed training can go on.

AdamW on ``loss(step, generator)`` with warm-up, a schedule, clipping of the gradient, and optionally a running average
of the weights (Polyak & Juditsky 1992, doi:10.1137/0330046), bfloat16 autocast, and early stopping by validation::

    log = train({"net": net}, loss, Recipe(steps=1000, learning_rate=1e-3), folder, seed=0, validate=validate)

Every step seeds torch from (seed, step) and hands ``loss`` a generator that depends on nothing else. So batches need no
data-loader state, validation cannot change what follows, and a training that was killed and resumed ends bit-equal to
an undisturbed one (same machine, same number of threads). Settings such as ``torch.set_num_threads`` are the caller's.

Files: ``log.csv`` (a row each ``log_every`` steps), ``checkpoint-<step>.safetensors`` (see `checkpoints`), and
``best.safetensors`` where the recipe watches a score.

AdamW: Loshchilov & Hutter 2019, arXiv:1711.05101.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brainenc.core.storage import plain, write_text
from brainenc.core.types import DataError
from brainenc.nn.checkpoints import (
    checkpoints,
    fill,
    load_checkpoint,
    load_tensors,
    save_checkpoint,
    save_tensors,
    tensors_of,
)
from brainenc.nn.optimiser import decay_groups, fill_optimiser, optimiser_tensors
from brainenc.nn.recipe import Recipe as Recipe
from brainenc.nn.recipe import TrainingLog as TrainingLog
from brainenc.nn.recipe import as_csv

Loss = Callable[[int, torch.Generator], tuple[Tensor, dict[str, float]]]
Validate = Callable[[], dict[str, float]]


@dataclass
class _Counters:
    """What a checkpoint says in words and numbers."""

    step: int = 0  # steps done
    seconds: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    pending: list[dict[str, float]] = field(default_factory=list)  # loss and its numbers, not yet in a row
    best: dict[str, float] | None = None
    waited: int = 0
    stopped_early: bool = False


def step_seed(seed: int, step: int) -> int:
    """The seed of all randomness of one step, a function of (seed, step) alone."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def train(
    modules: dict[str, nn.Module],
    loss: Loss,
    recipe: Recipe,
    folder: Path,
    seed: int,
    validate: Validate | None = None,
    resume: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> TrainingLog:
    """Train modules in place.

    Parameters
    ----------
    modules : dict of str -> Module
        All that is trained, on one device. They are in training mode during ``loss`` and in evaluation mode during
        ``validate`` and at the end. Keep frozen networks out of here.
    loss : (step, generator) -> (scalar tensor, dict of numbers for the log)
        Batch, augmentation and noise must come from the arguments (or torch's global generator), from nothing else.
        ``generator`` lives on the processor.
    recipe : Recipe
    folder : path
        Of the log and the checkpoints.
    seed : int
        Not negative.
    validate : () -> dict of str -> float, optional
        Scores of the modules as they stand, run without gradient.
    resume : bool
        Go on from the folder's latest checkpoint, if there is one.
    facts : mapping, optional
        Plain words and numbers (batch size, data) that must be the same when a training goes on.

    Returns
    -------
    TrainingLog
        At the end the modules hold the watched score's best weights, else the last (their average under ``ema``).

    Raises
    ------
    DataError
        A folder with checkpoints that is not to be resumed, checkpoints of another training or all damaged, a loss
        that is not finite, a watched score that ``validate`` does not give.
    """
    if recipe.watch is not None and validate is None:
        raise DataError(f"Recipe watches {recipe.watch!r} but no validation was given: pass validate.")
    run = _Run(modules, recipe, folder, seed, validate, {**asdict(recipe), "seed": seed, **(facts or {})})
    run.start(resume)
    with torch.random.fork_rng(), _progress(recipe.steps, run.counters.step) as tell:
        while run.counters.step < recipe.steps and not run.counters.stopped_early:
            run.advance(loss)
            tell(run.counters)
    return run.finish()


class _Run:
    """State of one training: modules, optimiser, average, counters."""

    def __init__(
        self,
        modules: dict[str, nn.Module],
        recipe: Recipe,
        folder: Path,
        seed: int,
        validate: Validate | None,
        facts: dict[str, Any],
    ) -> None:
        self.modules, self.recipe, self.folder, self.seed, self.validate = modules, recipe, folder, seed, validate
        self.facts = facts
        self.tensors = tensors_of(modules)
        self.average = {n: t.detach().clone() for n, t in self.tensors.items()} if recipe.ema else None
        self.optimiser = torch.optim.AdamW(
            decay_groups(modules, recipe.weight_decay), lr=recipe.learning_rate, betas=recipe.betas, eps=recipe.epsilon
        )
        self.parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        self.device = self.parameters[0].device
        self.counters = _Counters()
        self.clock = time.perf_counter()

    def start(self, resume: bool) -> None:
        """Fill everything from the latest checkpoint, or begin."""
        if not resume and checkpoints(self.folder):
            raise DataError(
                f"{self.folder} holds {checkpoints(self.folder)[-1].name} of an earlier training: resume it, or delete "
                "the folder."
            )
        found = load_checkpoint(self.folder) if resume else None
        if found is not None:
            self._restore(*found)
        for module in self.modules.values():
            module.train()
        self.clock = time.perf_counter() - self.counters.seconds

    def _restore(self, tensors: dict[str, Tensor], counters: dict[str, Any]) -> None:
        facts, wanted = counters.pop("facts"), plain(self.facts)
        changed = sorted(name for name in facts.keys() | wanted.keys() if facts.get(name) != wanted.get(name))
        if changed:
            name = changed[0]
            raise DataError(
                f"{self.folder}: its checkpoint was trained with {name} {facts.get(name)!r}, now it is "
                f"{wanted.get(name)!r}: give the same, or train in another folder."
            )
        parts: dict[str, dict[str, Tensor]] = {"weights": {}, "average": {}, "optimiser": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = tensor
        fill(self.modules, parts["weights"], f"{self.folder}: its checkpoint")
        fill_optimiser(self.optimiser, parts["optimiser"])
        if self.average is not None:
            self.average = {name: parts["average"][name].to(t.device) for name, t in self.average.items()}
        self.counters = _Counters(**counters)

    def advance(self, loss: Loss) -> None:
        """One update, then whatever is due after it."""
        recipe, step = self.recipe, self.counters.step
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.rate(step)
        torch.manual_seed(step_seed(self.seed, step))
        generator = torch.Generator().manual_seed(step_seed(self.seed, step))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.bf16):
            value, numbers = loss(step, generator)
        if not math.isfinite(value.item()):
            raise DataError(f"Training: the loss is {value.item()} at step {step}: lower the learning rate.")
        self.optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, recipe.clip)
        self.optimiser.step()
        self._update_average(step)
        self.counters.step += 1
        self.counters.pending.append({"loss": value.item(), **numbers})
        self._after_step()

    def _update_average(self, step: int) -> None:
        """``average = d average + (1 - d) weights``, d rising to ``ema`` so that the beginning is soon forgotten."""
        if self.average is None or self.recipe.ema is None:
            return
        decay = min(self.recipe.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, tensor in self.tensors.items():
                if tensor.is_floating_point():
                    self.average[name].lerp_(tensor, 1 - decay)
                else:
                    self.average[name].copy_(tensor)

    def _after_step(self) -> None:
        recipe, counters = self.recipe, self.counters
        counters.seconds = time.perf_counter() - self.clock
        scores: dict[str, float] = {}
        if self.validate is not None and self._due(recipe.validate_every):
            with undisturbed(self.modules, self.average, step_seed(self.seed, 0)):
                scores = self.validate()
            self._judge(scores)
        if scores or self._due(recipe.log_every) or counters.stopped_early:
            self._write_row(scores)
        if self._due(recipe.checkpoint_every) or counters.stopped_early:
            self._save()

    def _due(self, every: int) -> bool:
        return self.counters.step % every == 0 or self.counters.step == self.recipe.steps

    def _judge(self, scores: dict[str, float]) -> None:
        """Keep the best weights; stop when patience is over. Only validation speaks here."""
        recipe, counters = self.recipe, self.counters
        if recipe.watch is None:
            return
        if recipe.watch not in scores:
            raise DataError(
                f"Recipe watches {recipe.watch!r}, validation gives {', '.join(scores) or 'nothing'}: watch one."
            )
        if counters.best is None or scores[recipe.watch] > counters.best[recipe.watch]:
            counters.best, counters.waited = {"step": counters.step, **scores}, 0
            kept = self.tensors if self.average is None else self.average
            save_tensors(self.folder / "best.safetensors", kept, counters.best)
        else:
            counters.waited += 1
            counters.stopped_early = recipe.patience is not None and counters.waited >= recipe.patience

    def _write_row(self, scores: dict[str, float]) -> None:
        counters = self.counters
        row: dict[str, float] = {"step": counters.step}
        for name in counters.pending[0]:
            row[name] = float(np.mean([numbers[name] for numbers in counters.pending]))
        row["learning_rate"] = self.recipe.rate(counters.step - 1)
        row.update({f"validation_{name}": float(score) for name, score in scores.items()})
        counters.rows.append({**row, "seconds": round(counters.seconds, 1)})
        counters.pending = []
        write_text(self.folder / "log.csv", as_csv(counters.rows))

    def _save(self) -> None:
        tensors = {f"weights/{name}": tensor for name, tensor in self.tensors.items()}
        tensors.update({f"optimiser/{name}": tensor for name, tensor in optimiser_tensors(self.optimiser).items()})
        tensors.update({f"average/{name}": tensor for name, tensor in (self.average or {}).items()})
        save_checkpoint(self.folder, self.counters.step, tensors, {**asdict(self.counters), "facts": plain(self.facts)})

    def finish(self) -> TrainingLog:
        """Leave the weights that count in the modules."""
        counters = self.counters
        if counters.best is not None:
            best, _ = load_tensors(self.folder / "best.safetensors")
            fill(self.modules, best, f"{self.folder}/best.safetensors")
        elif self.average is not None:
            fill(self.modules, self.average, "the average")
        for module in self.modules.values():
            module.eval()
        return TrainingLog(tuple(counters.rows), counters.step, counters.seconds, counters.best, counters.stopped_early)


@contextmanager
def undisturbed(modules: Mapping[str, nn.Module], average: Mapping[str, Tensor] | None, seed: int) -> Iterator[None]:
    """Evaluation mode, no gradient, own randomness, and the averaged weights if any; afterwards all is as before."""
    raw = {name: tensor.clone() for name, tensor in tensors_of(modules).items()}
    try:
        if average is not None:
            fill(modules, average, "the average")
        for module in modules.values():
            module.eval()
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        fill(modules, raw, "the weights before validation")
        for module in modules.values():
            module.train()


@contextmanager
def _progress(steps: int, done: int) -> Iterator[Callable[[_Counters], None]]:
    from tqdm import tqdm

    with tqdm(total=steps, initial=done, desc="training", unit="step", mininterval=2) as bar:

        def tell(counters: _Counters) -> None:
            if counters.rows and counters.rows[-1]["step"] == counters.step:
                shown = {n: v for n, v in counters.rows[-1].items() if n == "loss" or n.startswith("validation_")}
                bar.set_postfix({name: f"{value:.4g}" for name, value in shown.items()}, refresh=False)
            bar.update()

        yield tell
