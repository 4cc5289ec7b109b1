"""Limits of the machine, read from trees of files made for the test, and from this process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from brainenc.core.machine import Limit, Machine, look, peak_memory

GIB = 2**30


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def seen(tmp_path: Path, group: str, files: dict[str, str], **environment: str) -> Machine:
    """What `look` says of a machine of 64 GiB whose process lies in ``group``."""
    proc = tree(tmp_path / "proc", {"self/cgroup": group, "meminfo": f"MemAvailable: {64 * GIB // 1024} kB\n"})
    cgroup = tree(tmp_path / "cgroup", files)
    cgroup.mkdir(exist_ok=True)
    return look(tmp_path, proc=proc, cgroup=cgroup, devices=tmp_path, environment=environment)


def test_without_any_group_the_memory_that_is_available_holds(tmp_path):
    assert seen(tmp_path, "", {}).smallest("ram") == Limit(64 * GIB, "memory available now")


@pytest.mark.parametrize(
    ("group", "files", "gib", "place"),
    [
        ("0::/job\n", {"job/memory.max": f"{8 * GIB}\n"}, 8, "cgroup/job"),
        ("0::/a/b\n", {"a/memory.max": f"{4 * GIB}\n", "a/b/memory.max": "max\n"}, 4, "cgroup/a"),
        ("0::/a/b\n", {"a/memory.max": f"{4 * GIB}\n", "a/b/memory.max": f"{2 * GIB}\n"}, 2, "cgroup/a/b"),
        ("0::/a/b\n", {"a/memory.max": f"{1 * GIB}\n", "a/b/memory.max": f"{2 * GIB}\n"}, 1, "cgroup/a"),
        ("0::/\n", {"memory.max": f"{3 * GIB}\n"}, 3, "cgroup"),
        # The path that the host sees, of which the container has only the root.
        ("0::/../../host\n", {"memory.max": f"{3 * GIB}\n"}, 3, "cgroup"),
        ("4:memory:/job\n0::/\n", {"memory/job/memory.limit_in_bytes": f"{6 * GIB}\n"}, 6, "memory/job"),
        ("4:memory:/docker/x\n", {"memory/memory.limit_in_bytes": f"{5 * GIB}\n"}, 5, "cgroup/memory"),
        ("4:memory:/a/b\n", {"memory/a/memory.limit_in_bytes": f"{7 * GIB}\n", "memory/a/b/x": ""}, 7, "memory/a"),
    ],
)
def test_the_smallest_limit_of_a_group_and_of_those_above_it_holds(tmp_path, group, files, gib, place):
    limit = seen(tmp_path, group, files).smallest("ram")
    assert limit.amount == gib * GIB
    assert limit.source.split(" (")[0].endswith(place)


@pytest.mark.parametrize(
    ("group", "files"),
    [
        ("0::/job\n", {"job/memory.max": "max\n"}),
        ("4:memory:/job\n", {"memory/job/memory.limit_in_bytes": "9223372036854771712\n"}),
        ("0::/job\n", {"other/memory.max": f"{GIB}\n"}),
        ("4:cpu:/job\n", {"memory/job/memory.limit_in_bytes": f"{GIB}\n"}),
    ],
)
def test_no_limit_and_the_limits_of_others_do_not_count(tmp_path, group, files):
    assert seen(tmp_path, group, files).smallest("ram").amount == 64 * GIB


def test_what_others_in_the_group_hold_is_not_free_but_pages_of_files_are(tmp_path):
    files = {
        "job/memory.max": f"{8 * GIB}\n",
        "job/memory.current": f"{5 * GIB}\n",
        "job/memory.stat": f"anon {3 * GIB}\ninactive_file {1 * GIB}\nactive_file {1 * GIB}\n",
    }
    assert seen(tmp_path, "0::/job\n", files).smallest("ram").amount == 5 * GIB


@pytest.mark.parametrize(
    ("group", "files", "cores"),
    [
        ("0::/job\n", {"job/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/a/b\n", {"a/cpu.max": "30000 100000\n", "a/b/cpu.max": "max 100000\n"}, 0.3),
        (
            "3:cpu,cpuacct:/job\n",
            {"cpu,cpuacct/job/cpu.cfs_quota_us": "70000\n", "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n"},
            0.7,
        ),
    ],
)
def test_quotas_of_processor_time_count_as_cores(tmp_path, group, files, cores):
    machine = seen(tmp_path, group, files)
    assert machine.smallest("cores").amount == pytest.approx(cores)
    assert machine.n_cores == 1  # less than a core is still one


def test_no_quota_leaves_the_affinity(tmp_path):
    files = {"cpu/job/cpu.cfs_quota_us": "-1\n", "cpu/job/cpu.cfs_period_us": "100000\n"}
    assert seen(tmp_path, "3:cpu:/job\n", files).n_cores == len(os.sched_getaffinity(0))


def test_the_scheduler_is_believed(tmp_path):
    assert seen(tmp_path, "", {}, SLURM_MEM_PER_NODE="2048").smallest("ram") == Limit(2 * GIB, "SLURM_MEM_PER_NODE")
    machine = seen(tmp_path, "", {}, SLURM_MEM_PER_CPU="1024", SLURM_CPUS_ON_NODE="4")
    assert machine.smallest("ram") == Limit(4 * GIB, "SLURM_MEM_PER_CPU")
    assert seen(tmp_path, "", {}, SLURM_CPUS_PER_TASK="1").n_cores == 1


def test_limits_of_the_shell_are_seen(tmp_path):
    code = "from brainenc.core.machine import look; from pathlib import Path; m = look(Path('.'));"
    code += "print(m.smallest('address_space').amount, m.smallest('data').amount)"
    run = subprocess.run(
        ["bash", "-c", 'ulimit -v 4000000; ulimit -d 3000000; exec "$@"', "-", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == [str(4_000_000 * 1024), str(3_000_000 * 1024)]


def test_the_disk_of_a_folder_that_does_not_exist_yet_is_that_of_its_parent(tmp_path):
    assert look(tmp_path / "a" / "b").disk.source.endswith(str(tmp_path))


def test_nothing_is_asked_of_torch_where_there_is_no_device(tmp_path):
    code = (
        "import sys; from pathlib import Path; from brainenc.core.machine import look;"
        f"print(look(Path('.'), gpu=True, devices=Path({str(tmp_path)!r})).gpus, 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["()", "False"]


def test_the_peak_is_remembered_after_it_has_passed():
    before = peak_memory()
    held = np.ones(2**24)  # 128 MiB
    del held
    after = peak_memory()
    assert after >= before and after >= 2**27
    assert after <= max(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024) * 1.05
