"""Constant memory: private peak of the fit against targets, and a whole cortex from one HDF5 file.

    python benchmarks/ridge/memory.py               # 10,000 to 160,000 targets
    python benchmarks/ridge/memory.py --cortex      # 9,000 samples, 1,024 features, 160,000 targets: 6 GB on disk

Responses are generated into HDF5 (not timed), read back in blocks, and the coefficients are written to a safetensors
file as they come. Private memory is what the process holds for itself (Private_Dirty and Private_Clean of
/proc/self/smaps_rollup, sampled every 20 ms), not the pages of files that the system caches.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import run

ROWS = {"n": 2000, "p": 512, "targets": [10_000, 40_000, 160_000]}
CORTEX = {"n": 9000, "p": 1024, "targets": [160_000]}


def private_bytes() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Dirty", "Private_Clean"))) * 1024


def generate(path: Path, n: int, p: int, t: int) -> None:
    """Write features, and responses a fifth of whose variance they explain."""
    import h5py

    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p), dtype=np.float32) * (np.arange(1, p + 1) ** -0.5).astype(np.float32)
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=X)
        values = file.create_dataset("values", (n, t), np.float32, chunks=(min(n, 256), 1024))
        for start in range(0, t, 1024):
            width = min(1024, t - start)
            signal = X @ rng.standard_normal((p, width), dtype=np.float32)
            signal /= signal.std(0)
            values[:, start : start + width] = signal * 0.5 + rng.standard_normal((n, width), dtype=np.float32)


def fit(path: Path, folder: Path) -> dict[str, Any]:
    """Fit in this process; return seconds and memory."""
    import h5py

    from brainenc.core import storage
    from brainenc.encoders.ridge import Ridge

    with h5py.File(path) as file:
        X = file["X"][:]
    Ridge(device="cpu").fit(X[:100, :8], np.random.default_rng(0).standard_normal((100, 16)).astype(np.float32))
    base, peak, stop = private_bytes(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.wait(0.02):
            peak = max(peak, private_bytes())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    with h5py.File(path) as file:
        Y = file["values"]
        start = time.perf_counter()
        with storage.arrays_writer(
            folder / "coef.safetensors", {"coef": ((X.shape[1], Y.shape[1]), np.float32)}
        ) as out:
            ridge = Ridge(alphas=np.logspace(-1, 6, 20).tolist(), extend=False, device="cpu")
            ridge.fit(X, Y, groups=np.arange(len(X)) * 5 // len(X), coef=out["coef"])
        seconds = time.perf_counter() - start
    stop.set()
    watcher.join()
    return {"seconds": seconds, "base": base, "peak": peak, "median_score": float(np.nanmedian(ridge.cv_scores_))}


def one(n: int, p: int, t: int, folder: Path) -> dict[str, Any]:
    """Generate and fit in a process of their own each, so that neither sees the other's memory."""
    command = [sys.executable, "-W", "ignore", __file__, "--job", str(n), str(p), str(t), "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {"n": n, "p": p, "t": t, **json.loads(done.stdout.splitlines()[-1])}


def job(n: int, p: int, t: int, folder: Path) -> None:
    child = os.fork()
    if child == 0:
        generate(folder / "responses.h5", n, p, t)
        os._exit(0)
    os.waitpid(child, 0)
    print(json.dumps(fit(folder / "responses.h5", folder)))


def floor(row: dict[str, Any]) -> float:
    """Seconds of our matrix products at the rates measured now."""
    from brainenc.encoders.footprint import footprint

    made = footprint(row["n"], [row["p"]], row["t"], 5, 20, extend=False)
    return made.flops32 / run.gemm_rate("float32") + (made.flops64 + made.eigh_flops) / run.gemm_rate("float64")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cortex", action="store_true", help="the whole-cortex job instead of the series")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--job", type=int, nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        job(*arguments.job, arguments.folder)
        return
    sizes = CORTEX if arguments.cortex else ROWS
    rows = []
    for t in sizes["targets"]:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(one(sizes["n"], sizes["p"], t, Path(folder)))
        rows[-1]["floor"] = floor(rows[-1])
        print(rows[-1], flush=True)
    name = "cortex" if arguments.cortex else "memory"
    lines = [
        f"# {'A whole cortex from one HDF5 file' if arguments.cortex else 'Memory against targets'}",
        "",
        f"Command: `python {' '.join(sys.argv)}`. Date: {date.today()}. Machine: {run.machine()}.",
        "20 penalties, 5 folds; responses read from HDF5 in blocks of targets, coefficients written as they come.",
        "",
        "| samples | features | targets | responses (MB) | seconds | seconds / floor | private peak (MB) "
        "| of it libraries and features (MB) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['n']:,} | {row['p']:,} | {row['t']:,} | {4 * row['n'] * row['t'] / 1e6:,.0f} "
            f"| {row['seconds']:.1f} | {row['seconds'] / row['floor']:.2f} | {row['peak'] / 1e6:.0f} "
            f"| {row['base'] / 1e6:.0f} |"
        )
    (arguments.out / f"{name}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
