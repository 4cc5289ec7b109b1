"""What a process may use here: cores, memory, address space, disk and GPUs, each limit with the place that sets it.

The smallest of several limits holds: a scheduler, a container and a shell may each set one, at any level. Control
groups: https://docs.kernel.org/admin-guide/cgroup-v2.html and ``cgroup-v1/memory.html``, ``sched-bwc.html`` beside it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

UNLIMITED = 2**60
"""Version 1 of control groups writes "no limit" as a number of about 2^63."""

GPU_DEVICES = ("nvidiactl", "nvidia0", "dxg", "kfd")


@dataclass(frozen=True)
class Limit:
    """An amount, in bytes or cores, and who says so."""

    amount: float
    source: str


@dataclass(frozen=True)
class Gpu:
    """An accelerator: its name and its free and total memory in bytes."""

    name: str
    free: int
    total: int


@dataclass(frozen=True)
class Machine:
    """Limits of one process here, those of each kind in the order in which they were found.

    Attributes
    ----------
    cores : limits in cores.
    ram : limits of resident memory, bytes that are still free.
    address_space : limits of ``ulimit -v``, bytes; empty where there are none.
    data : limits of ``ulimit -d``, bytes; empty where there are none.
    disk : bytes free where results are written.
    gpus : accelerators that torch sees.
    """

    cores: tuple[Limit, ...]
    ram: tuple[Limit, ...]
    disk: Limit
    address_space: tuple[Limit, ...] = ()
    data: tuple[Limit, ...] = ()
    gpus: tuple[Gpu, ...] = field(default=())

    @property
    def n_cores(self) -> int:
        """Whole cores that may be used, at least one."""
        return max(1, int(self.smallest("cores").amount))

    def smallest(self, kind: str) -> Limit:
        """The limit that holds among those of a kind: ``cores``, ``ram``, ``address_space`` or ``data``."""
        limits: tuple[Limit, ...] = getattr(self, kind)
        return min(limits, key=lambda limit: limit.amount, default=Limit(float("inf"), "no limit"))


def look(
    folder: Path,
    gpu: bool = False,
    proc: Path = Path("/proc"),
    cgroup: Path = Path("/sys/fs/cgroup"),
    devices: Path = Path("/dev"),
    environment: Mapping[str, str] | None = None,
) -> Machine:
    """Read the limits of this process; nothing is measured and nothing is written.

    Parameters
    ----------
    folder : where results will be written; need not exist.
    gpu : ask torch for accelerators, which takes the time of its import.
    proc, cgroup, devices, environment : where the system tells; tests give their own.
    """
    told = os.environ if environment is None else environment
    return Machine(
        cores=tuple(_cores(proc, cgroup, told)),
        ram=tuple(_memory(proc, cgroup, told)),
        disk=_disk(folder),
        address_space=tuple(_shell_limit("RLIMIT_AS", "ulimit -v")),
        data=tuple(_shell_limit("RLIMIT_DATA", "ulimit -d")),
        gpus=_gpus(devices) if gpu else (),
    )


def peak_memory() -> int:
    """Most resident memory that this process ever held, bytes.

    From ``VmHWM`` where there is one: ``ru_maxrss`` also remembers the process that started this one.
    """
    status = _read(Path("/proc/self/status"))
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


# ------------------------------------------------------------------------------------------------------------- cores


def _cores(proc: Path, cgroup: Path, told: Mapping[str, str]) -> Iterator[Limit]:
    if hasattr(os, "sched_getaffinity"):
        yield Limit(len(os.sched_getaffinity(0)), "CPU affinity of this process")
    else:
        yield Limit(os.cpu_count() or 1, "processors of this machine")
    for folder in _groups(proc, cgroup, "cpu"):
        quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
        if quota.isdigit() and period.isdigit() and int(quota) and int(period):
            yield Limit(int(quota) / int(period), f"CPU quota of control group {folder}")
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        if told.get(name, "").isdigit():
            yield Limit(int(told[name]), name)
            break


# ------------------------------------------------------------------------------------------------------------ memory


def _memory(proc: Path, cgroup: Path, told: Mapping[str, str]) -> Iterator[Limit]:
    available = _fields(proc / "meminfo").get("MemAvailable")
    if available is not None:
        yield Limit(available * 1024, "memory available now")
    else:
        yield Limit(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "memory of this machine")
    for folder in _groups(proc, cgroup, "memory"):
        limit = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
        if limit.strip().isdigit() and int(limit) < UNLIMITED:
            left = max(0, int(limit) - _held(folder))
            yield Limit(left, f"control group {folder} ({int(limit) / 2**30:.1f} GiB, less what others in it hold)")
    if told.get("SLURM_MEM_PER_NODE", "").isdigit() and int(told["SLURM_MEM_PER_NODE"]):
        yield Limit(int(told["SLURM_MEM_PER_NODE"]) * 2**20, "SLURM_MEM_PER_NODE")
    elif told.get("SLURM_MEM_PER_CPU", "").isdigit():
        n_cores = int(told.get("SLURM_CPUS_ON_NODE", "1"))
        yield Limit(int(told["SLURM_MEM_PER_CPU"]) * n_cores * 2**20, "SLURM_MEM_PER_CPU")


def _held(folder: Path) -> int:
    """Bytes a control group holds and cannot drop: all but the pages of files."""
    held = _read(folder / "memory.current") or _read(folder / "memory.usage_in_bytes")
    if not held.strip().isdigit():
        return 0
    pages = _fields(folder / "memory.stat")
    files = sum(pages.get(f"total_{name}", pages.get(name, 0)) for name in ("inactive_file", "active_file"))
    return max(0, int(held) - files)


def _groups(proc: Path, cgroup: Path, controller: str) -> Iterator[Path]:
    """Folders of this process' control group and of all above it, the nearest first.

    Inside a container the path that the kernel tells may be that of the host: then only the root is there.
    """
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root = cgroup / "unified" if (cgroup / "unified").is_dir() else cgroup
        elif controller in controllers.split(","):
            root = next((cgroup / name for name in (controllers, controller) if (cgroup / name).is_dir()), cgroup)
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            folder = root.joinpath(*parts[:depth])
            if folder.is_dir():
                yield folder


def _shell_limit(name: str, source: str) -> Iterator[Limit]:
    try:
        import resource
    except ImportError:  # Windows sets no such limits
        return
    soft, _ = resource.getrlimit(getattr(resource, name))
    if soft != resource.RLIM_INFINITY:
        yield Limit(soft, source)


# ------------------------------------------------------------------------------------------------------- disk and GPU


def _disk(folder: Path) -> Limit:
    at = Path(folder).absolute()
    while not at.exists():
        at = at.parent
    return Limit(shutil.disk_usage(at).free, f"free space under {at}")


def _gpus(devices: Path) -> tuple[Gpu, ...]:
    if not any((devices / name).exists() for name in GPU_DEVICES) or find_spec("torch") is None:
        return ()
    import torch

    if not torch.cuda.is_available():
        return ()
    found = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        found.append(Gpu(torch.cuda.get_device_name(index), int(free), int(total)))
    return tuple(found)


def _read(path: Path) -> str:
    """Text of a file of the system; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _fields(path: Path) -> dict[str, int]:
    """Name -> number of lines such as ``MemAvailable:  123 kB``."""
    words = [line.replace(":", " ").split() for line in _read(path).splitlines()]
    return {word[0]: int(word[1]) for word in words if len(word) > 1 and word[1].isdigit()}
