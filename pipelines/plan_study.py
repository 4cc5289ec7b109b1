"""plan: what every job of a study will take on this machine, before any of them runs.

    RAM = what the started process holds + what the job adds,    time = start + sum of amounts / rates

Amounts come from shapes (`plan_jobs`, `plan_fit`), rates and starts from a calibration of this machine. What is not
known is said so and counts as nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from brainenc.core import storage
from brainenc.core.calibration import Calibration, Start, calibration, known
from brainenc.core.machine import Machine, look
from brainenc.core.provenance import content_hash
from pipelines.plan_fit import IMPORTS, Demand
from pipelines.plan_jobs import Job, study_jobs
from pipelines.plan_shapes import Shapes, find_shapes
from pipelines.study import Study

MIB = 2**20
TYPICAL = {
    "table": Start(95 * MIB, 240 * MIB, 130 * MIB, 1.0),
    "pictures": Start(130 * MIB, 300 * MIB, 160 * MIB, 2.0),
    "torch": Start(280 * MIB, 800 * MIB, 300 * MIB, 3.0),
    "himalaya": Start(360 * MIB, 1000 * MIB, 400 * MIB, 4.0),
}
"""What started processes held where this was written: the cheap check before a run, where nothing is measured yet."""

MARGIN = 1.04
"""What is planned beyond what is counted: libraries hold some percent more or less from one process to the next."""

ARENAS = 160 * MIB
"""Address space that a reading thread reserves beside what it holds."""


@dataclass(frozen=True)
class Prediction:
    """What one job will take.

    Attributes
    ----------
    name, step, subject, models, threads : as `Job`.
    ram, address_space, data, vram, disk : bytes; None where they are not known.
    seconds : None where it is not predicted.
    bound : what most of the time goes to.
    width : targets at a time, for fits.
    unknown : why nothing is predicted.
    """

    name: str
    step: str
    subject: str
    models: tuple[str, ...]
    threads: int
    ram: int | None = None
    address_space: int | None = None
    data: int | None = None
    vram: int | None = None
    disk: int | None = None
    seconds: float | None = None
    bound: str = ""
    width: int | None = None
    unknown: str = ""


@dataclass(frozen=True)
class Plan:
    """Predictions of all jobs, and what they were made from."""

    study: Study
    shapes: Shapes
    machine: Machine
    rates: Calibration | None
    jobs: tuple[Job, ...]
    predictions: tuple[Prediction, ...]
    refusals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    widths: tuple[tuple[str, int], ...] = ()


def plan_study(study: Study, measure: bool = True, again: bool = False, machine: Machine | None = None) -> Plan:
    """Predict every job of a study and refuse what cannot fit.

    Parameters
    ----------
    measure : calibrate this machine (once a day) and try networks; else only what is already known is used, which
        takes no measurable time and says nothing of seconds unless there is a calibration of today.
    again : calibrate even where there is a calibration of today.
    machine : limits to plan for; by default those of this process.

    Raises
    ------
    DataError
        A fault of the study's data.
    """
    from pipelines.plan_refusals import with_refusals

    resources = study.config["resources"]
    here = machine or look(study.folder, gpu=measure and _may_use_gpu(study))
    shapes = find_shapes(study, build_networks=measure)
    if measure:
        rates: Calibration | None = calibration(study.folder, resources["threads"], IMPORTS, again)
    else:
        rates = known(resources["threads"], IMPORTS)
    jobs = tuple(study_jobs(study, shapes))
    predictions = tuple(predict(job, rates, bool(here.gpus)) for job in jobs)
    return with_refusals(Plan(study, shapes, here, rates, jobs, predictions))


def predict(job: Job, rates: Calibration | None, gpu: bool = False) -> Prediction:
    """Turn what a job needs into bytes and seconds on a machine of these rates; None: typical starts and no times."""
    told = (job.name, job.step, job.subject, job.models, job.threads)
    if job.demand is None:
        return Prediction(*told, unknown=job.unknown)
    demand = job.demand
    starts = TYPICAL if rates is None else rates.starts
    start = starts[demand.start] if demand.start else Start(0, starts["torch"].address_space, 0, 0.0)
    tables = starts["table"]
    seconds, bound = (None, "") if rates is None else _time(demand, start, rates)
    if gpu and demand.vram:
        seconds, bound = None, "GPU"
    return Prediction(
        *told,
        ram=int(max(start.ram + demand.ram, tables.ram + demand.before) * MARGIN) if demand.start else demand.ram,
        address_space=max(start.address_space + demand.ram, tables.address_space + demand.before) + ARENAS,
        data=max(start.data + demand.ram, tables.data + demand.before) + ARENAS,
        vram=demand.vram if gpu else 0,
        disk=demand.written,
        seconds=seconds,
        bound=bound,
        width=demand.width,
    )


def _time(demand: Demand, start: Start, rates: Calibration) -> tuple[float | None, str]:
    """Seconds of a job, and what most of them go to."""
    if demand.seconds is None:
        return None, ""
    parts = {
        "start": start.seconds,
        "GEMM float32": demand.flops32 / rates.flops32,
        "GEMM float64": demand.flops64 / rates.flops64,
        "eigen-decomposition": demand.eigh_flops / rates.eigh_flops,
        "memory": demand.copied / rates.copy,
        "disk": demand.read / rates.read + demand.written / rates.write,
        demand.bound: demand.seconds,
    }
    return sum(parts.values()), max(parts, key=lambda name: parts[name])


def _may_use_gpu(study: Study) -> bool:
    return any(entry.get("device", "auto") in ("auto", "cuda") for entry in study.config["encoders"].values())


def as_data(plan: Plan) -> dict[str, Any]:
    """The plan as JSON: jobs, totals, limits with their sources, refusals and notes. Bytes and seconds."""
    return {
        "study": plan.study.config["study"],
        "config": content_hash(storage.plain(plan.study.config)),
        "made": date.today().isoformat(),
        "jobs": [asdict(prediction) for prediction in plan.predictions],
        "totals": totals(plan),
        "limits": asdict(plan.machine),
        "calibration": None if plan.rates is None else asdict(plan.rates),
        "shapes": asdict(plan.shapes),
        "n_targets_batch": dict(plan.widths),
        "refusals": list(plan.refusals),
        "notes": list(plan.notes),
    }


def save_plan(plan: Plan, anew: bool = True) -> Path:
    """Write the plan where the report finds it, ``plan.json`` in the study's folder.

    Unless it is made ``anew``, it only takes the place of one of another configuration, or of one that knows less.
    """
    path, content = plan.study.folder / "plan.json", as_data(plan)
    if path.exists() and not anew:
        before = storage.read_json(path)
        if before.get("config") == content["config"] and _n_known(before["jobs"]) >= _n_known(content["jobs"]):
            return path
    storage.write_json(path, content)
    return path


def _n_known(jobs: Sequence[dict[str, Any]]) -> int:
    return sum((job["ram"] is not None) + (job["seconds"] is not None) for job in jobs)


# ----------------------------------------------------------------------------------------------------------- schedule


def totals(plan: Plan, n_cores: int | None = None) -> dict[str, Any]:
    """Sums, and what a run with so many cores (by default all that may be used) takes.

    ``seconds`` is the end of a schedule in which a job starts as soon as its inputs and its cores are there;
    ``critical_path`` the jobs that decide the end; ``beside`` the most memory held by jobs at the same time.
    """
    n_cores = n_cores or plan.machine.n_cores
    timed = [p.seconds for p in plan.predictions if p.seconds is not None]
    end, path, beside = _schedule(plan.jobs, plan.predictions, n_cores)
    rams = [p.ram for p in plan.predictions if p.ram is not None]
    return {
        "jobs": len(plan.predictions),
        "cores": n_cores,
        "ram": max(rams, default=0),
        "beside": beside,
        "disk": sum(p.disk or 0 for p in plan.predictions),
        "seconds": end if timed else None,
        "seconds_of_all_jobs": sum(timed) if timed else None,
        "not_timed": sum(p.seconds is None for p in plan.predictions),
        "critical_path": path,
    }


def _schedule(jobs: Sequence[Job], predictions: Sequence[Prediction], n_cores: int) -> tuple[float, list[str], int]:
    """Return the end of a greedy schedule, the jobs that decide it, and the most memory held at a time."""
    of = {p.name: p for p in predictions}
    ends: dict[str, float] = {}
    waited: dict[str, str] = {}
    spans: list[tuple[float, float, int]] = []
    cores = [(0.0, "")] * n_cores  # when each core is free, and after which job
    waiting = list(jobs)
    while waiting:
        ready = [job for job in waiting if all(name in ends for name in job.needs)]

        def earliest(job: Job) -> float:
            return max((ends[name] for name in job.needs), default=0.0)

        job = min(ready, key=earliest)
        waiting.remove(job)
        cores.sort()
        taken = min(job.threads, n_cores)
        begin, cause = cores[taken - 1]
        for name in job.needs:
            if ends[name] >= begin:
                begin, cause = ends[name], name
        end = begin + (of[job.name].seconds or 0.0)
        ends[job.name], waited[job.name] = end, cause
        cores[:taken] = [(end, job.name)] * taken
        spans.append((begin, max(end, begin + 1e-9), of[job.name].ram or 0))
    last = max(ends, key=lambda name: ends[name], default="")
    path = [last] if last else []
    while path and waited[path[-1]]:
        path.append(waited[path[-1]])
    beside = max((sum(r for b, e, r in spans if b <= start < e) for start, _, _ in spans), default=0)
    return max(ends.values(), default=0.0), path[::-1], beside


def with_width(job: Job, demand: Demand) -> Job:
    """The same job with another demand."""
    return replace(job, demand=demand)
