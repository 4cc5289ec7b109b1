"""Planned against measured: peak memory of every step on ten shapes, and whether a planned job survives its limit.

    python benchmarks/plan/run.py                 # all shapes, into benchmarks/plan/results.md
    python benchmarks/plan/run.py --shapes small  # small ones, printed
    python benchmarks/plan/run.py --only dual     # one shape anew, the others kept

Each shape is a folder of its own: HDF5 responses and stored features are generated, `brainenc plan` predicts, `brainenc
run --cores 1` runs, every step in a fresh process that tells its own peak (``VmHWM``). Then each fit runs again under
``ulimit -v`` at the planned address space plus 20 % and, where control groups may be made, under a memory limit at the
planned RAM plus 20 %, both at once.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import yaml

from brainenc.core.machine import look
from pipelines.study import load_study

HERE = Path(__file__).parent
SLACK = 1.2
CONTROL_GROUPS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))


@dataclass(frozen=True)
class Shape:
    """What is generated: stimuli, targets, widths of feature spaces, and how the encoder is asked for."""

    name: str
    n_samples: int
    n_targets: int
    widths: tuple[int, ...]
    encoder: str = "ridge"
    options: tuple[tuple[str, Any], ...] = ()
    pca: int | None = None
    n_folds: int | None = None
    n_repetitions: int = 1
    n_bootstrap: int = 50


SHAPES = {
    "small": (
        Shape("small", 600, 3_000, (128,)),
        Shape("small-banded", 600, 3_000, (64, 64), "banded"),
        Shape("small-dual", 500, 4_000, (1_500,)),
        Shape("small-repeated", 700, 6_000, (200,), n_repetitions=3),
    ),
    "full": (
        Shape("few-features", 3_000, 20_000, (256,), n_bootstrap=1000),
        Shape("usual", 4_000, 40_000, (768,)),
        Shape("many-targets", 2_000, 160_000, (512,)),
        Shape("wide", 5_000, 20_000, (3_000,)),
        Shape("dual", 2_000, 20_000, (6_000,)),
        Shape("reduced", 4_000, 20_000, (8_000,), pca=500),
        Shape("banded", 2_500, 20_000, (256, 256, 256), "banded", (("n_gammas", 12),)),
        Shape("repeated", 3_000, 30_000, (512,), n_repetitions=3),
        Shape("cross-validated", 2_400, 20_000, (512,), n_folds=4),
        Shape("himalaya", 2_000, 10_000, (512,), options=(("solver", "himalaya"),)),
    ),
}


def main() -> None:
    """Run the chosen shapes and write or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", choices=list(SHAPES), default="full")
    parser.add_argument("--only", help="name of a single shape")
    parser.add_argument("--until", help="a step to stop after, such as fit_encoder; by default all steps are run")
    parser.add_argument("--scratch", type=Path, help="folder for generated data; by default a temporary one")
    chosen = parser.parse_args()
    for shape in SHAPES[chosen.shapes]:
        if chosen.only in (None, shape.name):
            with tempfile.TemporaryDirectory(dir=chosen.scratch) as folder:
                rows = measure(shape, Path(folder), chosen.until)
            print(report(rows), flush=True)
            if chosen.shapes == "full":
                keep(rows)


def keep(rows: list[dict[str, Any]]) -> None:
    """Put the rows of one shape in the place of its earlier ones, and write the tables anew."""
    kept = HERE / "results.json"
    with open(HERE / "run.py", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # shapes may be measured side by side
        others = json.loads(kept.read_text()) if kept.exists() else []
        rows = [row for row in others if row["shape"] != rows[0]["shape"]] + rows
        order = [shape.name for shape in SHAPES["full"]]
        rows.sort(key=lambda row: order.index(row["shape"]))
        kept.write_text(json.dumps(rows, indent=1) + "\n")
        (HERE / "results.md").write_text(report(rows), encoding="utf-8")


def measure(shape: Shape, folder: Path, until: str | None = None) -> list[dict[str, Any]]:
    """Plan and run one shape; one row per step that was run, and what became of the limits."""
    study_file = generate(shape, folder)
    load = os.getloadavg()[0]  # it says what the times are worth
    call("plan", study_file)
    call("run", study_file, "--cores", "1", *(["--until", until] if until else []))
    study = load_study(study_file)
    plan = json.loads((study.folder / "plan.json").read_text())
    rows = []
    for job in plan["jobs"]:
        if not (study.folder / "benchmarks" / f"{job['name']}.tsv").exists():
            continue  # after the last step asked for
        log = (study.folder / "logs" / f"{job['name']}.log").read_text()
        peak = float(log.rpartition("peak memory ")[2].split()[0]) * 2**20
        table = pd.read_csv(study.folder / "benchmarks" / f"{job['name']}.tsv", sep="\t")
        row = {"shape": shape.name, "step": job["step"], "planned": job["ram"], "measured": peak}
        row |= {"planned s": job["seconds"], "measured s": float(table["s"].iloc[0]), "limits": "", "load": load}
        if job["step"] == "fit_encoder":
            row["limits"] = ", ".join(survives(study_file, study.folder, job, folder))
        rows.append(row)
    return rows


def generate(shape: Shape, folder: Path) -> Path:
    """Write responses (HDF5), features (``.npy``), tables and a study; values follow a linear model with noise."""
    generator = np.random.default_rng(0)
    ids = [f"s{i:06d}" for i in range(shape.n_samples)]
    splits = np.where(np.arange(shape.n_samples) % 5 == 4, "test", "train")
    stimuli = pd.DataFrame({"stimulus_id": ids, "text": [f"stimulus {i}" for i in ids], "split": splits})
    stimuli.to_csv(folder / "stimuli.tsv", sep="\t", index=False)
    shown = np.concatenate([generator.permutation(shape.n_samples) for _ in range(shape.n_repetitions)])
    samples = pd.DataFrame({"stimulus_id": np.array(ids)[shown], "session": np.arange(len(shown)) // 500})
    samples.to_csv(folder / "sub-01_samples.tsv", sep="\t", index=False)
    features = {}
    for k, width in enumerate(shape.widths):
        X = generator.normal(size=(shape.n_samples, width)).astype(np.float32)
        X *= np.arange(1, width + 1, dtype=np.float32) ** -0.3
        np.save(folder / f"band{k}.npy", X)
        entry = {"class": "array", "path": str(folder / f"band{k}.npy"), "ids_table": str(folder / "stimuli.tsv")}
        features[f"band{k}"] = entry | ({"pca": shape.pca} if shape.pca else {})
    with h5py.File(folder / "sub-01_responses.h5", "w") as file:
        size = (len(shown), shape.n_targets)
        values = file.create_dataset("responses", size, "float32", chunks=(min(256, size[0]), min(1024, size[1])))
        for start in range(0, shape.n_targets, 4096):
            stop = min(start + 4096, shape.n_targets)
            signal = X[:, :64] @ generator.normal(size=(min(64, X.shape[1]), stop - start)).astype(np.float32)
            values[:, start:stop] = signal[shown] + 4 * generator.normal(size=(size[0], stop - start)).astype(
                np.float32
            )
    study = {
        "study": "planned",
        "results": str(folder / "results"),
        "dataset": {"class": "folder", "root": str(folder)},
        "subjects": ["01"],
        "split": {"class": "stimulus", "n_folds": shape.n_folds} if shape.n_folds else {"class": "column"},
        "responses": {"within": "session", "detrend": 1, "zscore": True},
        "features": features,
        "encoders": {"model": {"class": shape.encoder, "extend": False, **dict(shape.options)}},
        "statistics": {"n_permutations": 50, "n_bootstrap": shape.n_bootstrap},
        "surface": {"mesh": None},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    return folder / "study.yaml"


def call(*words: Any) -> None:
    """Run ``brainenc`` and show what it said if it failed."""
    done = subprocess.run([sys.executable, "-m", "pipelines.cli", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])


# -------------------------------------------------------------------------------------------------------------- limits


def survives(study_file: Path, results: Path, job: dict[str, Any], folder: Path) -> list[str]:
    """Run a fit again under the limits that can be set here, all at once, and say which it survived.

    If it does not survive all together, it runs under each alone.
    """
    command = fit_command(study_file, results, job, folder)
    shell = f"ulimit -v {int(job['address_space'] * SLACK / 1024)}; "
    group = make_group(int(job["ram"] * SLACK))
    limits = {"ulimit -v": shell} | ({} if group is None else {"cgroup": f"echo $$ > {group}/cgroup.procs; "})

    def run(before: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["bash", "-c", before + 'exec "$@"', "-", *command], capture_output=True)

    if run("".join(limits.values())).returncode == 0:
        told = [f"{name} kept" for name in limits]
    else:
        alone = {name: run(before) for name, before in limits.items()}
        told = [
            f"{name} kept" if done.returncode == 0 else f"{name} FAILED ({done.returncode}): {done.stderr[-300:]!r}"
            for name, done in alone.items()
        ]
        told.append("together FAILED")
    if group is not None:
        group.rmdir()
    return told


def fit_command(study_file: Path, results: Path, job: dict[str, Any], folder: Path) -> list[str]:
    """The fit of a job, writing elsewhere."""
    study = load_study(study_file)
    (label,) = job["models"]
    model = next(model for model in study.models if model.label == label)
    here = results / "sub-01"
    parameters = {
        "encoder": study.config["encoders"][model.encoder],
        "features": {name: study.config["features"][name] for name in model.features},
        "average": study.config["responses"]["average"],
        "seed": 0,
    }
    command = [sys.executable, "-m", "pipelines.cli", "fit_encoder", "--threads", "1"]
    command += ["--responses", str(here / "responses.h5"), "--split", str(here / "split.tsv"), "--features"]
    command += [str(results / "features" / f"{name}.h5") for name in model.features]
    command += ["--parameters", json.dumps(parameters), "--output", str(folder / "again.safetensors")]
    return [*command, "--card", str(folder / "again.json"), "--predictions", str(folder / "again-p.safetensors")]


def make_group(limit: int) -> Path | None:
    """A control group with that memory limit; None where none may be made."""
    for root in CONTROL_GROUPS:
        group = root / f"brainenc-plan-{os.getpid()}"
        try:
            group.mkdir()
            name = "memory.max" if (group / "memory.max").exists() else "memory.limit_in_bytes"
            (group / name).write_text(str(limit))
        except OSError:
            if group.exists():
                group.rmdir()
            continue
        return group
    return None


# -------------------------------------------------------------------------------------------------------------- tables


def report(rows: list[dict[str, Any]]) -> str:
    """Two Markdown tables: the fits with their limits, and all steps."""
    table = pd.DataFrame(rows)
    table["ratio"] = table["planned"] / table["measured"]
    fits = table[table["step"] == "fit_encoder"]
    within = fits["ratio"].between(0.95, 1.2)
    lines = [
        f"# Planned and measured, {date.today().isoformat()}",
        "",
        f"{platform.processor() or platform.machine()}, {look(Path()).n_cores} cores, Python "
        f"{platform.python_version()}. Made by `benchmarks/plan/run.py`. Peak memory in MiB, time in s.",
        "",
        f"Fits within 0.95 and 1.20 of the measured peak: {within.sum()} of {len(within)}; lowest "
        f"{fits['ratio'].min():.2f}, highest {fits['ratio'].max():.2f}.",
        "",
        f"Load average of the minute before a shape's jobs, in which its data were generated by one process: "
        f"{table['load'].min():.1f} to {table['load'].max():.1f}. What is above 1 was other work, which makes measured "
        "times longer and changes no memory.",
        "",
    ]
    return (
        "\n".join(
            [*lines, "## Fits", "", *_markdown(fits), "", "## Other steps", ""]
            + _markdown(table[table["step"] != "fit_encoder"])
        )
        + "\n"
    )


def _markdown(table: pd.DataFrame) -> list[str]:
    lines = ["| shape | step | planned | measured | ratio | planned s | measured s | limits + 20 % |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in table.to_dict("records"):
        seconds = "–" if row["planned s"] is None or np.isnan(row["planned s"]) else f"{row['planned s']:.1f}"
        lines.append(
            f"| {row['shape']} | {row['step']} | {row['planned'] / 2**20:.0f} | {row['measured'] / 2**20:.0f} | "
            f"{row['ratio']:.2f} | {seconds} | {row['measured s']:.1f} | {row['limits']} |"
        )
    return lines


if __name__ == "__main__":
    if shutil.which("bash") is None:
        raise SystemExit("bash is needed to set limits.")
    main()
