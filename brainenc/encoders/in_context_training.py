"""How an in-context encoder learns to learn, in three stages that follow each other.

    1 simulated   targets drawn over real embeddings, context of fixed size
    2 extended    the same, context of a random size per step
    3 measured    targets of real subjects, context of a random size per step

The loss is the mean squared error of the responses to the queries, through the weights that the network wrote. The test
subject and the test stimuli are excluded by name before anything is trained: an overlap is an error, never a warning.

Source: BraInCoRL, Yu et al. 2025, arXiv:2505.15813.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from brainenc.core.types import DataError
from brainenc.nn.hypernetwork import HyperNetwork, respond
from brainenc.nn.recipe import Recipe, TrainingLog
from brainenc.nn.training import step_seed, train
from brainenc.nn.voxel_tasks import MeasuredSubject, MeasuredTargets, Tasks, TaskSource

STAGES = ("simulated", "extended", "measured")


@dataclass(frozen=True)
class Curriculum:
    """Sizes of the tasks, and a recipe for each stage; a stage without a recipe is left out.

    Parameters
    ----------
    simulated, extended, measured : Recipe, optional
    n_context : context stimuli in the first stage, or as many as there are if there are fewer.
    shortest, longest : context stimuli in the other two, uniform between them, both included.
    n_query : stimuli to predict.
    n_targets : targets in a batch.
    n_validation : targets in the validation batch.

    Raises
    ------
    DataError
        If no stage is left, or a number is outside its range.
    """

    simulated: Recipe | None = None
    extended: Recipe | None = None
    measured: Recipe | None = None
    n_context: int = 500
    shortest: int = 30
    longest: int = 500
    n_query: int = 100
    n_targets: int = 64
    n_validation: int = 256

    def __post_init__(self) -> None:
        if all(self.recipe(stage) is None for stage in STAGES):
            raise DataError("Curriculum has no recipe, wanted one for at least one stage: give simulated=Recipe(...).")
        for name in ("n_context", "shortest", "n_query", "n_targets", "n_validation"):
            if getattr(self, name) < 1:
                raise DataError(f"Curriculum: {name} is {getattr(self, name)}, wanted at least 1: change it.")
        if self.longest < self.shortest:
            raise DataError(f"Curriculum: contexts of {self.shortest} to {self.longest} stimuli: wanted a range.")

    def recipe(self, stage: str) -> Recipe | None:
        """The recipe of one of `STAGES`."""
        found: Recipe | None = getattr(self, stage)
        return found

    def sizes(self, stage: str, n_stimuli: int) -> tuple[int, int]:
        """Fewest and most context stimuli of a stage, where a task can have ``n_stimuli`` in all.

        Raises
        ------
        DataError
            If the fewest are already too many.
        """
        room = n_stimuli - self.n_query
        least, most = (1, self.n_context) if stage == "simulated" else (self.shortest, self.longest)
        if room < least:
            raise DataError(
                f"stage {stage!r} has {n_stimuli} stimuli, wanted {self.n_query} queries and at least {least} context "
                "stimuli: lower n_query or shortest, or give more stimuli."
            )
        return (min(most, room), min(most, room)) if stage == "simulated" else (least, min(most, room))


@dataclass(frozen=True)
class HeldOut:
    """What must never be seen in training: the test subject, and the stimuli it is tested (and given context) on."""

    subject: str
    stimulus_ids: Sequence[str]

    def check(self, subjects: Sequence[MeasuredSubject], simulated_ids: Sequence[str]) -> None:
        """Raise `DataError` if the training subjects, their stimuli, or those of the simulation hold any of it."""
        names = [one.subject for one in subjects]
        if self.subject in names:
            raise DataError(
                f"subject {self.subject!r} is the test subject and among the training subjects {', '.join(names)}: "
                "leave it out of them."
            )
        mine = {str(name) for name in self.stimulus_ids}
        for owner, ids in [
            ("the simulation", simulated_ids),
            *((f"subject {s.subject}", s.stimulus_ids) for s in subjects),
        ]:
            shared = sorted(mine & {str(name) for name in ids})
            if shared:
                raise DataError(
                    f"{len(shared)} test stimuli of subject {self.subject!r} (first {shared[0]!r}) are trained "
                    f"on in {owner}, wanted none: drop them there (without_stimuli)."
                )


def without_stimuli(subject: MeasuredSubject, stimulus_ids: Sequence[str]) -> MeasuredSubject:
    """Return the subject without these stimuli.

    Raises
    ------
    DataError
        If none are left.
    """
    dropped = {str(name) for name in stimulus_ids}
    rows = np.array([row for row, name in enumerate(subject.stimulus_ids) if name not in dropped], dtype=int)
    if not len(rows):
        raise DataError(f"subject {subject.subject} has only held-out stimuli, wanted others: leave the subject out.")
    Y = subject.Y.rows(rows) if hasattr(subject.Y, "rows") else np.asarray(subject.Y)[rows]
    return replace(subject, stimulus_ids=[subject.stimulus_ids[row] for row in rows], X=subject.X[rows], Y=Y)


def train_in_context(
    network: HyperNetwork,
    curriculum: Curriculum,
    folder: Path,
    seed: int,
    *,
    held_out: HeldOut,
    simulated: TaskSource | None = None,
    simulated_ids: Sequence[str] = (),
    subjects: Sequence[MeasuredSubject] = (),
    validation: TaskSource | None = None,
    resume: bool = False,
) -> dict[str, TrainingLog]:
    """Train a network in place, stage after stage, each in its own folder below ``folder``.

    Parameters
    ----------
    network : on the device to train on.
    curriculum : Curriculum
    folder : path
    seed : int
        The whole training is a function of it, the data and the network as it came.
    held_out : the test subject and its stimuli.
    simulated : tasks of the first two stages.
    simulated_ids : (n_stimuli,) which stimuli lent their embeddings to it.
    subjects : the training subjects of the third stage.
    validation : tasks of stimuli or subjects that are neither trained nor tested on; where a recipe watches
        "correlation" or "r2", the best weights are kept by it and patience obeys it.
    resume : go on where a killed training stood.

    Returns
    -------
    dict of stage -> TrainingLog

    Raises
    ------
    DataError
        If the test subject or a test stimulus is among what is trained on, or a stage lacks its data.
    """
    held_out.check(subjects, simulated_ids)
    if simulated is not None and len(simulated_ids) != simulated.n_stimuli:
        raise DataError(
            f"the simulation has {simulated.n_stimuli} stimuli and {len(simulated_ids)} ids, wanted an id for each: "
            "pass simulated_ids, so that test stimuli among them are noticed."
        )
    sources: dict[str, TaskSource | None] = dict.fromkeys(STAGES[:2], simulated)
    sources["measured"] = MeasuredTargets(subjects) if subjects else None
    stages = [stage for stage in STAGES if curriculum.recipe(stage) is not None]
    for stage in stages:
        if sources[stage] is None:
            raise DataError(f"stage {stage!r} has a recipe but no data: give simulated or subjects, or leave it out.")
    logs = {}
    for number, stage in enumerate(stages):
        source, recipe = sources[stage], curriculum.recipe(stage)
        assert source is not None and recipe is not None
        logs[stage] = _train_stage(
            network, source, recipe, curriculum.sizes(stage, source.n_stimuli), curriculum, folder / stage,
            step_seed(seed, number), validation, resume, {"stage": stage},
        )  # fmt: skip
    return logs


def _train_stage(
    network: HyperNetwork,
    source: TaskSource,
    recipe: Recipe,
    sizes: tuple[int, int],
    curriculum: Curriculum,
    folder: Path,
    seed: int,
    validation: TaskSource | None,
    resume: bool,
    facts: dict[str, Any],
) -> TrainingLog:
    place = next(network.parameters()).device

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        n_context = int(torch.randint(sizes[0], sizes[1] + 1, (), generator=generator))
        tasks = source.draw(curriculum.n_targets, n_context, curriculum.n_query, generator)
        predicted = respond(network(tasks.X.to(place), tasks.Y.to(place)).float(), tasks.X_query.to(place))
        return (predicted - tasks.Y_query.to(place)).square().mean(), {"n_context": float(n_context)}

    facts = {**facts, "sizes": list(sizes), "n_query": curriculum.n_query, "n_targets": curriculum.n_targets}
    validate = None if validation is None else _validation(network, validation, sizes, curriculum, seed)
    return train({"network": network}, loss, recipe, folder, seed, validate, resume, facts)


def _validation(
    network: HyperNetwork, source: TaskSource, sizes: tuple[int, int], curriculum: Curriculum, seed: int
) -> Callable[[], dict[str, float]]:
    """Scores on one fixed batch, with a context in the middle of the stage's range."""
    n_context = min(sum(sizes) // 2, source.n_stimuli - curriculum.n_query)
    generator = torch.Generator().manual_seed(step_seed(seed, 0))
    tasks = source.draw(curriculum.n_validation, max(1, n_context), curriculum.n_query, generator)
    place = next(network.parameters()).device
    size = curriculum.n_targets
    blocks = [slice(start, start + size) for start in range(0, curriculum.n_validation, size)]

    def validate() -> dict[str, float]:
        weights = [network(tasks.X[at].to(place), tasks.Y[at].to(place)).float().cpu() for at in blocks]
        return _scores(tasks, respond(torch.cat(weights), tasks.X_query))

    return validate


def _scores(tasks: Tasks, predicted: Tensor) -> dict[str, float]:
    """Mean over targets of correlation and r2, both over the queries of a target."""
    y = tasks.Y_query - tasks.Y_query.mean(dim=1, keepdim=True)
    p = predicted - predicted.mean(dim=1, keepdim=True)
    norms = (y.square().sum(dim=1) * p.square().sum(dim=1)).sqrt().clamp_min(1e-12)
    residual = (predicted - tasks.Y_query).square().sum(dim=1) / y.square().sum(dim=1).clamp_min(1e-12)
    return {"correlation": float(((y * p).sum(dim=1) / norms).mean()), "r2": float(1 - residual.mean())}
