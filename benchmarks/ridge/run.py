"""Ridge with a penalty per target: ours against himalaya at its best settings, scikit-learn, and our own floor.

    make bench-ridge      # all cases and the plot
    python benchmarks/ridge/run.py --cases voxelwise --no-scaling      # one case anew, the others kept

The protocol: one process; same threads, penalties, folds, score and intercept on either side; coefficients and test
predictions included, the making of data not. himalaya gets the fastest of torch or numpy (on all targets), target batch
500, 2000, 8000, alpha batch 1, 5, all, and its kernel route where that applies (on 2,000 targets, one at a time); "wide
features" takes what was found for "voxelwise". Then ours and himalaya take turns. The single-precision matrix product
is timed before and after every round; a round in which it drifted by more than 15 % is not counted, unless so few are
left after three more that all must be, which the notes then tell. Ratios are of medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import problems
import replay
from problems import Case, Problem, Solution, timed

DRIFT, MOST_DROPPED = 0.15, 3
CASES = [
    Case("voxelwise", 4000, 768, 10_000, wanted=18.0),
    Case("more features than samples", 2000, 4096, 8_000, wanted=2.2),
    Case("wide features", 3000, 2048, 40_000, wanted=6.0, rounds=1),
    Case("banded", 1500, 384, 4_000, n_bands=3, n_gammas=8, wanted=14.0),
    Case("voxelwise, correlation", 4000, 768, 10_000, cv_score="correlation", rounds=2),
]


def gemm_rate(dtype: str) -> float:
    """Return FLOP/s of a square matrix product, the fastest of six."""
    import torch

    size = 2048 if dtype == "float32" else 1536
    a, b = (torch.randn(size, size, dtype=getattr(torch, dtype)) for _ in range(2))
    out = torch.empty_like(a)
    return max(2.0 * size**3 / timed(lambda: torch.mm(a, b, out=out))[0] for _ in range(6))


def best_settings(problem: Problem) -> dict[str, Any]:
    """Return himalaya's fastest settings: sought one at a time on 2,000 targets, then either backend on all of them."""
    choices = problems.himalaya_settings(problem.case)
    best = {name: values[0] for name, values in choices.items()}
    times: dict[str, float] = {}

    def seconds(settings: dict[str, Any], n_targets: int | None = 2000) -> float:
        key = f"{n_targets} targets {settings}"
        if key not in times:
            times[key] = timed(partial(problems.himalaya, problem, settings, n_targets))[0]
            print(f"    {times[key]:6.2f} s  {key}", flush=True)
        return times[key]

    for name, values in choices.items():
        if name != "backend":
            best = min((best | {name: value} for value in values), key=seconds)
    return min((best | {"backend": backend} for backend in choices["backend"]), key=partial(seconds, n_targets=None))


def measure(case: Case, n_rounds: int, settings: dict[str, Any] | None) -> dict[str, Any]:
    """Time one case in turns, with himalaya's settings if they are given."""
    print(f"{case}", flush=True)
    problem = Problem(case)
    problems.ours(problem)
    settings = settings or best_settings(problem)
    calls = replay.record(lambda: problems.ours(problem))
    rounds: list[dict[str, float]] = []
    results = {}
    before = gemm_rate("float32")

    def steady() -> list[dict[str, float]]:
        return [one for one in rounds if one["drift"] <= DRIFT]

    while len(steady()) < n_rounds and len(rounds) < n_rounds + MOST_DROPPED:
        one: dict[str, float] = {}
        one["ours"], results["ours"] = timed(lambda: problems.ours(problem))
        one["himalaya"], results["himalaya"] = timed(lambda: problems.himalaya(problem, settings))
        one["replay"] = replay.replay(calls)
        after = gemm_rate("float32")
        one |= {"drift": abs(after / before - 1), "sgemm": after, "dgemm": gemm_rate("float64")}
        print("  " + ", ".join(f"{name} {value:.3g}" for name, value in one.items()), flush=True)
        before = after
        rounds.append(one)
    counted = steady() if len(steady()) == n_rounds else rounds
    times = {key: [one[key] for one in counted] for key in ("ours", "himalaya", "replay")}
    row = {
        "case": case.name, "n": case.n, "p": case.p, "t": case.t, "n_bands": case.n_bands, "n_gammas": case.n_gammas,
        "score": case.cv_score, "wanted": case.wanted, "settings": settings, "times": times,
        "dropped": len(rounds) - len(counted), "drift": max(one["drift"] for one in counted),
        "sgemm": float(np.median([one["sgemm"] for one in counted])),
        "dgemm": float(np.median([one["dgemm"] for one in counted])), "measured": f"{date.today()}, {commit()}",
    }  # fmt: skip
    row["floor"] = problems.floor_seconds(case, row["sgemm"], row["dgemm"])
    return row | agreement(problem, results["ours"], results["himalaya"])


def agreement(problem: Problem, one: Solution, other: Solution) -> dict[str, float]:
    """Return how far two solutions agree, and what float64 says of targets for which they chose different penalties."""
    same = np.isclose(one.alpha, other.alpha, rtol=1e-3)
    differ = np.flatnonzero(~same)[:200]
    loss = 0.0
    if len(differ) and problem.case.n_bands == 1:
        scores = [problems.float64_scores(problem, differ, way.alpha[differ]) for way in (one, other)]
        loss = float(np.abs(scores[0] - scores[1]).max())
    return {
        "same_alpha": float(same.mean()),
        "score_difference": float(np.abs(one.scores - other.scores).max()),
        "loss_where_different": loss,
        "prediction_difference": float(np.abs(one.Y_hat - other.Y_hat)[:, same].max()),
    }


def scaling(n_rounds: int) -> list[dict[str, Any]]:
    """Time growing targets, samples and features."""
    grids = {
        "targets": [Case("", 1000, 512, t) for t in (1000, 4000, 16000)],
        "samples": [Case("", n, 512, 4000) for n in (500, 1000, 2000, 4000)],
        "features": [Case("", 1000, p, 4000) for p in (128, 256, 512, 2048)],
    }
    rows = []
    settings = {"backend": "torch", "n_targets_batch": 2000, "n_alphas_batch": None}
    for axis, cases in grids.items():
        for case in cases:
            problem = Problem(case)
            route = "kernels" if case.p > case.n else "features"
            ways = {
                "ours": partial(problems.ours, problem),
                "himalaya": partial(problems.himalaya, problem, settings | {"route": route}),
                "scikit-learn (leave one out)": partial(problems.scikit_learn, problem),
            }
            times = {name: min(timed(way)[0] for _ in range(n_rounds)) for name, way in ways.items()}
            floor = problems.floor_seconds(case, gemm_rate("float32"), gemm_rate("float64"))
            rows.append({"axis": axis, "n": case.n, "p": case.p, "t": case.t, "times": times | {"floor": floor}})
            print(rows[-1], flush=True)
    return rows


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw time against targets, samples and features, on double logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    styles = {
        "himalaya": ("#b25d18", "s", "-"), "scikit-learn (leave one out)": ("#7a7a7a", "D", "-"),
        "ours": ("#1f5fa8", "o", "-"), "floor": ("#1f5fa8", None, ":"),
    }  # fmt: skip
    labels = {"ours": "brainenc", "floor": "its matrix products at full speed"}
    fixed = {"targets": "1,000 samples, 512 features", "samples": "512 features, 4,000 targets",
             "features": "1,000 samples, 4,000 targets"}  # fmt: skip
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), sharey=True, layout="constrained")
    for axis, (name, key) in zip(axes, (("targets", "t"), ("samples", "n"), ("features", "p")), strict=True):
        part = [row for row in rows if row["axis"] == name]
        x = [row[key] for row in part]
        for way, (colour, marker, line) in styles.items():
            y = [row["times"][way] for row in part]
            axis.loglog(x, y, line, color=colour, marker=marker, label=labels.get(way, way), markersize=5)
        axis.set_xticks(x, [f"{value:,}" for value in x])
        axis.minorticks_off()
        axis.set_xlabel(name)
        axis.set_title(fixed[name], fontsize=10)
        axis.grid(True, color="#dddddd", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("seconds (20 penalties, 5 folds)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=150)


def machine() -> str:
    """Return processor, cores and system."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown CPU")
    return f"{cpu}, {os.cpu_count()} cores, {platform.system()}"


def commit() -> str:
    """Return the commit measured, with a + if files were changed."""
    git = partial(subprocess.run, cwd=Path(__file__).parent, capture_output=True, text=True)
    changed = git(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip()
    return git(["git", "rev-parse", "--short", "HEAD"]).stdout.strip() + ("+" if changed else "")


def table(rows: list[dict[str, Any]]) -> str:
    """Return the cases as Markdown."""
    lines = [
        "| case | samples | features | targets | ours (s) | himalaya (s) | ratio | asked | ours / peak | ours / replay "
        "| same alpha | largest difference of CV score |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours, other, alone = (np.array(row["times"].get(key, np.nan)) for key in ("ours", "himalaya", "replay"))
        features = f"{row['n_bands']} x {row['p'] // row['n_bands']}" if row["n_bands"] > 1 else str(row["p"])
        wanted = "" if row["wanted"] is None else f"{row['wanted']:g}"
        name = row["case"] + (f", {row['n_gammas']} candidates" if row["n_gammas"] > 1 else "")
        replayed = "not measured" if np.isnan(alone).all() else f"{np.median(ours / alone):.2f}"
        lines.append(
            f"| {name} | {row['n']:,} | {features} | {row['t']:,} | {np.median(ours):.2f} (min {ours.min():.2f}) "
            f"| {np.median(other):.2f} (min {other.min():.2f}) | {np.median(other) / np.median(ours):.1f} | {wanted} "
            f"| {np.median(ours) / row['floor']:.2f} | {replayed} "
            f"| {row['same_alpha']:.2%} | {row['score_difference']:.1e} |"
        )
    return "\n".join(lines)


def report(folder: Path, rows: list[dict[str, Any]], curves: list[dict[str, Any]]) -> None:
    """Write the table, the figures behind it, and the plot."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps({"cases": rows, "scaling": curves}, indent=1) + "\n")
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "himalaya", "scikit-learn"))
    rates = ", ".join(f"{row['sgemm'] / 1e9:.0f}" for row in rows)
    order = {case.name: place for place, case in enumerate(CASES)}
    rows = sorted(rows, key=lambda row: order[row["case"]])
    notes = [
        f"- {row['case']} ({row['measured']}): himalaya at {row['settings']}; {len(row['times']['ours'])} rounds, "
        f"drift up to {row.get('drift', DRIFT):.0%}, {row['dropped']} dropped; where penalties differ, float64 scores "
        f"do by {row['loss_where_different']:.1e}; predictions of the others differ by "
        f"{row['prediction_difference']:.1e}."
        for row in rows
    ]
    text = f"""# Ridge with a penalty per target

Command: `make bench-ridge` (date and commit of each case below). Machine: {machine()};
{versions}. sgemm while measured: {rates} GFLOP/s. GPU: not measured.

20 penalties, 5 folds, per-target choice, intercept, coefficients and test predictions; medians of interleaved rounds.
Our own floor is given twice. "ours / peak": over the operations of our matrix products and eigendecompositions (9 n^3)
at the fastest of six large products, which these shapes do not reach, nor does any eigendecomposition. "ours / replay":
over the time of the very same products and eigendecompositions done again with nothing around them (`replay.py`).

{table(rows)}

{chr(10).join(notes)}
"""
    if curves:
        plot(curves, folder / "scaling.png")
        text += "\n![Seconds against targets, samples and features](scaling.png)\n"
    (folder / "results.md").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=[case.name for case in CASES], help="names of cases")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-scaling", action="store_true", help="leave the plot out")
    parser.add_argument("--shrink", type=int, default=1, help="divide all sizes by this, to try the script")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    kept = arguments.out / "results.json"
    old = json.loads(kept.read_text()) if kept.exists() else {"cases": [], "scaling": []}
    rows: list[dict[str, Any]] = [row for row in old["cases"] if row["case"] not in arguments.cases]
    for case in CASES:
        if case.name in arguments.cases:
            s = arguments.shrink
            small = Case(case.name, case.n // s, case.p // s, case.t // s, case.n_bands, case.n_gammas, case.cv_score)
            like = [row["settings"] for row in rows if (row["case"], case.name) == ("voxelwise", "wide features")]
            settings = like[0] if like else None
            n_rounds = min(arguments.rounds, case.rounds)
            rows.append(measure(case if s == 1 else small, n_rounds, settings))
            report(arguments.out, rows, old["scaling"])
    report(arguments.out, rows, old["scaling"] if arguments.no_scaling else scaling(min(3, arguments.rounds)))


if __name__ == "__main__":
    main()
