"""What the report says of time and memory: planned beside measured, and a dash where a part was not planned."""

from __future__ import annotations

import math
from pathlib import Path

from brainenc.core.storage import write_json
from pipelines.write_report import _resources


def _job(folder: Path, name: str, seconds: float, peak: float) -> None:
    for kind, text in (("benchmarks", f"s\tmax_rss\n{seconds}\t1\n"), ("logs", f"peak memory {peak} MiB\n")):
        path = folder / kind / f"{name}.{'tsv' if kind == 'benchmarks' else 'log'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_step_counts_as_planned_only_if_all_its_jobs_were(tmp_path: Path) -> None:
    for name, seconds, peak in (("fit/a", 4.0, 300.0), ("fit/b", 6.0, 500.0), ("extract/x", 1.0, 90.0)):
        _job(tmp_path, name, seconds, peak)
    _job(tmp_path, "extract/network", 30.0, 900.0)
    jobs = [
        {"name": n, "seconds": 5.0, "ram": r * 2**20} for n, r in (("fit/a", 330), ("fit/b", 550), ("extract/x", 99))
    ]
    write_json(tmp_path / "plan.json", {"jobs": [*jobs, {"name": "extract/network", "seconds": None, "ram": None}]})
    steps = {row["step"]: row for row in _resources(tmp_path)["steps"]}
    assert (steps["fit"]["planned"], steps["fit"]["memory"], steps["fit"]["planned_seconds"]) == (550, 500, 10)
    assert math.isclose(steps["fit"]["ratio"], 1.1)
    assert steps["extract"]["memory"] == 900
    assert all(math.isnan(steps["extract"][key]) for key in ("planned", "planned_seconds", "ratio"))
