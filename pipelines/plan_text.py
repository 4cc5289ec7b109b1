"""The plan as a table on a terminal."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from pipelines.plan_study import Plan, Prediction, totals


def as_text(plan: Plan) -> str:
    """One line for each kind of job and subject, then totals, limits with their sources, notes and refusals."""
    head = ("step", "subject", "jobs", "RAM", "VRAM", "disk", "time", "bound by")
    rows = [head, *_rows(plan)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(_placed(cell, w, i) for i, (cell, w) in enumerate(zip(r, widths, strict=True))) for r in rows]
    lines = [line.rstrip() for line in lines]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", *_totals(plan), *_limits(plan), *_words(plan)])


def _rows(plan: Plan) -> list[tuple[str, ...]]:
    groups: dict[tuple[str, str], list[Prediction]] = {}
    for prediction in plan.predictions:
        groups.setdefault((prediction.step, prediction.subject), []).append(prediction)
    return [(step, subject or "all", *_cells(found)) for (step, subject), found in groups.items()]


def _cells(found: list[Prediction]) -> tuple[str, ...]:
    known = [p for p in found if not p.unknown]
    timed = [p for p in known if p.seconds is not None]
    longest = max(timed, key=lambda p: p.seconds or 0.0, default=None)
    vram = max((p.vram or 0 for p in known), default=0)
    missing = "+?" if len(timed) < len(found) and timed else ""
    return (
        str(len(found)),
        size(max((p.ram or 0 for p in known), default=None)) + ("+?" if 0 < len(known) < len(found) else ""),
        size(vram) if vram else "-",
        size(sum(p.disk or 0 for p in known)) if known else "-",
        (duration(sum(p.seconds or 0.0 for p in timed)) if timed else "-") + missing,
        longest.bound if longest else "",
    )


def _totals(plan: Plan) -> list[str]:
    found = totals(plan)
    lines = [f"{found['jobs']} jobs, {size(found['disk'])} written, at most {size(found['beside'])} held at a time."]
    if found["seconds"] is not None:
        untimed = f", besides {found['not_timed']} jobs whose time is not predicted" if found["not_timed"] else ""
        steps = [list(jobs) for _, jobs in groupby(found["critical_path"], lambda name: name.partition("/")[0])]
        path = ", ".join(
            (f"{len(jobs)} x " if len(jobs) > 1 else "") + str(jobs[0].partition("/")[0]) for jobs in steps
        )
        lines.append(f"About {duration(found['seconds'])} with {found['cores']} cores{untimed}. Decided by: {path}.")
    return lines


def _limits(plan: Plan) -> list[str]:
    machine = plan.machine
    cores = ", ".join(f"{limit.amount:g} ({limit.source})" for limit in machine.cores)
    lines = ["", f"cores   {cores}"]
    for label, limits in (("memory", machine.ram), ("ulimit", (*machine.address_space, *machine.data))):
        if limits:
            lines.append(f"{label}  " + ", ".join(f"{size(limit.amount)} ({limit.source})" for limit in limits))
    lines.append(f"disk    {size(machine.disk.amount)} ({machine.disk.source})")
    lines += [f"GPU     {gpu.name}, {size(gpu.free)} free of {size(gpu.total)}" for gpu in machine.gpus]
    if plan.rates is not None:
        r = plan.rates
        lines.append(
            f"speed   {r.flops32 / 1e9:.0f} and {r.flops64 / 1e9:.0f} GFLOP/s in float32 and float64, eigh "
            f"{r.eigh_flops / 1e9:.0f} GFLOP/s, memory {r.copy / 1e9:.1f} GB/s; {r.threads} thread(s), {r.made}"
        )
    return lines


def _words(plan: Plan) -> list[str]:
    return ["", *(f"Note: {note}" for note in plan.notes)] if plan.notes else []


def _placed(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if 2 <= column <= 6 else cell.ljust(width)


def size(amount: Any) -> str:
    """Bytes for readers; a dash for None."""
    if amount is None:
        return "-"
    for unit, step in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if amount >= step:
            return f"{amount / step:.1f} {unit}" if unit == "GiB" else f"{amount / step:.0f} {unit}"
    return f"{amount:.0f} B"


def duration(seconds: float) -> str:
    """Seconds for readers: 12 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if whole else "< 1 s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
