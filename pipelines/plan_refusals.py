"""What cannot fit, in one sentence each: what is needed, what there is, and what would fit by the same formulas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from brainenc.core.machine import Limit
from pipelines.plan_features import FeatureShape
from pipelines.plan_fit import Demand, fit_demand
from pipelines.plan_jobs import Job
from pipelines.plan_study import Plan, Prediction, predict, totals, with_width
from pipelines.study import Model

SPARE = 1.05
"""A prediction may be too low by 5 %: a job fits where so much more would fit too."""

WIDTHS = (4096, 2048, 1024, 512, 256, 128, 64)
COMPONENTS = (5000, 4000, 3000, 2000, 1500, 1000, 750, 500, 300, 200, 100, 50)
SHELL = {"address_space": "address space", "data": "data"}


def with_refusals(plan: Plan) -> Plan:
    """The plan with narrower blocks of targets where only they fit, and a sentence for everything that does not."""
    jobs: list[Job] = []
    predictions: list[Prediction] = []
    refusals: list[str] = []
    notes: list[str] = []
    widths: dict[str, int] = {}
    for job, prediction in zip(plan.jobs, plan.predictions, strict=True):
        lacking = too_much(plan, prediction)
        if lacking and job.step == "fit_encoder":
            job, narrower, width = _narrowed(plan, job, prediction)
            if width is not None:
                model = _model(plan, job)
                widths[model.encoder] = min(width, widths.get(model.encoder, width))
                notes.append(
                    f"{job.name} fits only with blocks of {width} targets at a time (n_targets_batch of encoder "
                    f"{model.encoder!r}), which `brainenc run` chooses."
                )
            prediction, lacking = narrower, too_much(plan, narrower)
        if lacking:
            refusals.append(_sentence(plan, job, *lacking))
        jobs.append(job)
        predictions.append(prediction)
    plan = replace(plan, jobs=tuple(jobs), predictions=tuple(predictions))
    refusals += _disk(plan)
    notes += list(dict.fromkeys(p.unknown for p in predictions if p.unknown)) + _cores(plan)
    return replace(plan, refusals=tuple(refusals), notes=tuple(notes), widths=tuple(sorted(widths.items())))


def too_much(plan: Plan, prediction: Prediction) -> tuple[str, float, Limit] | None:
    """What a job lacks: the kind, the bytes it needs, and the limit; None where it fits."""
    for kind in ("ram", "address_space", "data"):
        needed, limit = getattr(prediction, kind), plan.machine.smallest(kind)
        if needed is not None and needed * SPARE > limit.amount:
            return kind, needed, limit
    if plan.machine.gpus and prediction.vram:
        gpu = min(plan.machine.gpus, key=lambda gpu: gpu.free)
        if prediction.vram * SPARE > gpu.free:
            return "vram", prediction.vram, Limit(gpu.free, f"free memory of {gpu.name}")
    return None


def _narrowed(plan: Plan, job: Job, prediction: Prediction) -> tuple[Job, Prediction, int | None]:
    """The widest blocks of targets with which a fit fits; as it was where none does."""
    for width in WIDTHS:
        if prediction.width is not None and width < prediction.width:
            narrower = with_width(job, _again(plan, job, width=width))
            found = predict(narrower, plan.rates, bool(plan.machine.gpus))
            if not too_much(plan, found):
                return narrower, found, width
    return job, prediction, None


def _again(plan: Plan, job: Job, bands: list[FeatureShape] | None = None, width: int | None = None) -> Demand:
    """What a fit would need with other features, or with other blocks of targets."""
    model = _model(plan, job)
    entry = plan.study.config["encoders"][model.encoder]
    chosen = _bands(plan, model) if bands is None else bands
    return fit_demand(entry, chosen, plan.shapes.subjects[job.subject], plan.shapes.n_stimuli, width)


def _model(plan: Plan, job: Job) -> Model:
    return next(model for model in plan.study.models if model.label in job.models)


def _bands(plan: Plan, model: Model) -> list[FeatureShape]:
    return [plan.shapes.features[name] for name in model.features]


# ---------------------------------------------------------------------------------------------------------- sentences


def _sentence(plan: Plan, job: Job, kind: str, needed: float, limit: Limit) -> str:
    what = {"ram": "memory", "vram": "GPU memory", **SHELL}[kind]
    cures = _smaller(plan, job) if job.step == "fit_encoder" else []
    if kind == "vram":
        cures.append("set its device to cpu")
    cures.append(f"give it {_gib(needed * SPARE)} of {what}")
    return (
        f"{job.name} needs {_gib(needed)} of {what} but {_gib(limit.amount)} are there ({limit.source}): "
        f"{', or '.join(cures)}."
    )


def _smaller(plan: Plan, job: Job) -> list[str]:
    """Changes of the study with which a fit would fit, the least first."""
    model, cures = _model(plan, job), []
    bands = _bands(plan, model)
    size = plan.shapes.subjects[job.subject]

    def fits(chosen: list[FeatureShape]) -> bool:
        found = predict(with_width(job, _again(plan, job, chosen, WIDTHS[-1])), plan.rates, bool(plan.machine.gpus))
        return too_much(plan, found) is None

    for n_components in COMPONENTS:
        wide = [n for n, band in zip(model.features, bands, strict=True) if band.n_features > n_components]
        if wide and n_components < size.n_train:
            fewer = [replace(b, n_components=n_components) if b.n_features > n_components else b for b in bands]
            if fits(fewer):
                keys = " and ".join(f"features.{name}.pca" for name in wide)
                cures.append(f"set {keys} to {n_components} or less")
                break
    for n_bands in range(len(bands) - 1, 1, -1):
        smallest = sorted(bands, key=lambda band: band.n_features)[:n_bands]
        if fits(smallest):
            cures.append(f"give encoder {model.encoder!r} its {n_bands} smallest bands only")
            break
    return cures


def _disk(plan: Plan) -> list[str]:
    needed, limit = totals(plan)["disk"], plan.machine.disk
    if needed * SPARE <= limit.amount:
        return []
    return [
        f"the study writes {_gib(needed)} but {_gib(limit.amount)} are free ({limit.source}): free some, or set the "
        "study key results to a folder with more."
    ]


def _cores(plan: Plan) -> list[str]:
    """How many cores a run may have so that the jobs beside each other fit."""
    limit = plan.machine.smallest("ram")
    if totals(plan)["beside"] * SPARE <= limit.amount:
        return []
    for n_cores in range(plan.machine.n_cores - 1, 0, -1):
        if totals(plan, n_cores)["beside"] * SPARE <= limit.amount:
            return [f"jobs beside each other fit with --cores {n_cores} ({_gib(limit.amount)}, {limit.source})."]
    return []


def _gib(amount: Any) -> str:
    return f"{amount / 2**30:.1f} GiB" if amount >= 2**30 else f"{amount / 2**20:.0f} MiB"
