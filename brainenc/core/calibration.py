"""How fast this machine is and what a started process holds, measured in seconds and kept for a day.

Rates are those of children with the threads that a job will have, for BLAS reads their number once, when it is loaded.
The eigen-decomposition is stated as ``9 n^3`` operations, the count that `brainenc.encoders` uses (Golub and Van Loan,
Matrix Computations, 4th ed., section 8.3, with vectors).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np

from brainenc.core.types import DataError

EIGH_FLOPS = 9
"""Operations of a symmetric eigen-decomposition with vectors, in units of n^3."""

THREAD_KEYS = tuple(f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM"))
GEMM_SIZE, EIGH_SIZE = 768, 512
COPY_BYTES, DISK_BYTES = 2**27, 2**26


@dataclass(frozen=True)
class Start:
    """What a process holds once its modules are loaded, bytes, and how long that took, s.

    ``address_space`` and ``data`` are what ``ulimit -v`` and ``ulimit -d`` count.
    """

    ram: int
    address_space: int
    data: int
    seconds: float


@dataclass(frozen=True)
class Calibration:
    """Rates of a job on this machine.

    Attributes
    ----------
    threads : of linear algebra.
    flops32, flops64, eigh_flops : operations a second: GEMM in both precisions, float64 eigen-decomposition.
    copy, read, write : bytes a second: within memory, from and to the folder of results.
    starts : by name, what a process of that kind holds.
    made : date.
    """

    threads: int
    flops32: float
    flops64: float
    eigh_flops: float
    copy: float
    read: float
    write: float
    starts: dict[str, Start]
    made: str


def calibration(folder: Path, threads: int, imports: Mapping[str, str], again: bool = False) -> Calibration:
    """Return today's calibration from the user's cache, or measure it.

    Parameters
    ----------
    folder : of results; it or its nearest parent is written to and read from.
    threads : of a job.
    imports : kind of process -> statement that loads what it loads.
    again : measure even where there is one of today.
    """
    kept = _cached(cache_file(threads), imports)
    if kept is not None and not again:
        return kept
    return calibrate(folder, threads, imports)


def known(threads: int, imports: Mapping[str, str]) -> Calibration | None:
    """Today's calibration where there is one; nothing is measured."""
    return _cached(cache_file(threads), imports)


def calibrate(folder: Path, threads: int, imports: Mapping[str, str]) -> Calibration:
    """Measure in children with ``threads`` threads, in a few seconds, and keep the result for the day."""
    at = Path(folder).absolute()
    while not at.exists():
        at = at.parent
    program = f"from brainenc.core.calibration import rates; rates({str(at)!r})"
    starts = {name: _start(code, threads) for name, code in imports.items()}
    found = Calibration(**_child(program, threads), threads=threads, starts=starts, made=date.today().isoformat())
    from brainenc.core.storage import write_json

    write_json(cache_file(threads), {**asdict(found), "imports": dict(imports)})
    return found


def cache_file(threads: int, name: str = "calibration") -> Path:
    """Where what was measured on this machine, with this interpreter and so many threads, is kept."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    host = "".join(c if c.isalnum() else "-" for c in f"{platform.node()}-{platform.machine()}")
    return root / "brainenc" / f"{name}-{host}-python{platform.python_version()}-threads{threads}.json"


def _cached(path: Path, imports: Mapping[str, str]) -> Calibration | None:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept.pop("imports") != dict(imports) or kept["made"] != date.today().isoformat():
            return None
        return Calibration(**{**kept, "starts": {name: Start(**start) for name, start in kept["starts"].items()}})
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or one of another version
        return None


def with_threads(threads: int) -> dict[str, str]:
    """The environment of a process whose linear algebra has that many threads."""
    return {**os.environ, **dict.fromkeys(THREAD_KEYS, str(threads))}


# --------------------------------------------------------------------------------------------------- inside the child

_START = """
import json, sys, time
begin = time.perf_counter()
import numpy
{code}
seconds = time.perf_counter() - begin
numpy.ones((300, 300)) @ numpy.ones((300, 300))
if "torch" in sys.modules:
    sys.modules["torch"].ones(300, 300) @ sys.modules["torch"].ones(300, 300)
from brainenc.core.machine import _fields, peak_memory
from pathlib import Path
held = _fields(Path("/proc/self/status"))
print(json.dumps(dict(ram=peak_memory(), address_space=1024 * held.get("VmPeak", 0), data=1024 * held.get("VmData", 0),
                      seconds=seconds)))
"""


def _start(code: str, threads: int) -> Start:
    held = _child(_START.format(code=code), threads)
    return Start(int(held["ram"]), int(held["address_space"]), int(held["data"]), held["seconds"])


def _child(program: str, threads: int) -> dict[str, float]:
    run = subprocess.run([sys.executable, "-c", program], env=with_threads(threads), capture_output=True, text=True)
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"calibration: a process to measure with failed ({reason}): mend the installation.")
    return dict(json.loads(run.stdout.splitlines()[-1]))


def rates(folder: str) -> None:
    """Print the rates of this process as JSON; `calibrate` calls it in a child of its own."""
    generator = np.random.default_rng(0)
    square = generator.normal(size=(GEMM_SIZE, GEMM_SIZE))
    small = square[:EIGH_SIZE, :EIGH_SIZE]
    symmetric, single = small + small.T, square.astype(np.float32)
    block, spare = np.ones(COPY_BYTES // 8), np.zeros(COPY_BYTES // 8)
    write, read = _disk_rates(Path(folder))
    found = {
        "flops32": 2 * GEMM_SIZE**3 / _best(lambda: single @ single),
        "flops64": 2 * GEMM_SIZE**3 / _best(lambda: square @ square),
        "eigh_flops": EIGH_FLOPS * EIGH_SIZE**3 / _best(lambda: np.linalg.eigh(symmetric)),
        "copy": COPY_BYTES / _best(lambda: np.copyto(spare, block)),
        "read": read,
        "write": write,
    }
    print(json.dumps(found))


def _best(work: Callable[[], object], seconds: float = 0.4) -> float:
    """Seconds of the quickest of several runs, the first left out: it starts the threads."""
    work()
    begin, quickest = time.perf_counter(), float("inf")
    while quickest == float("inf") or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        work()
        quickest = min(quickest, time.perf_counter() - start)
    return quickest


def _disk_rates(folder: Path) -> tuple[float, float]:
    """Bytes a second written to disk and flushed, and read again (from the system's cache where it keeps them)."""
    content = np.random.default_rng(0).bytes(DISK_BYTES)
    with tempfile.TemporaryFile(dir=folder) as file:
        start = time.perf_counter()
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        written = time.perf_counter()
        file.seek(0)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, DISK_BYTES, os.POSIX_FADV_DONTNEED)
        begin = time.perf_counter()
        while file.read(2**20):
            pass
        return DISK_BYTES / (written - start), DISK_BYTES / (time.perf_counter() - begin)
