"""A run that is killed at any moment goes on where it stopped, and ends with the same bytes as an undisturbed one."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

STUDY = {
    "study": "killed",
    "dataset": {"class": "planted", "size": "tiny", "subjects": ["01"], "n_shared": 120},
    "subjects": ["01"],
    "split": {"class": "column"},
    "responses": {"within": "session", "detrend": 1, "zscore": True},
    "features": {"energy": {"class": "gabor"}, "scene": {"class": "table", "columns": ["size_*", "attribute_*"]}},
    "encoders": {"banded": {"class": "banded", "n_gammas": 3, "n_alphas": 4}},
    "statistics": {"n_permutations": 50, "n_bootstrap": 50},
    "surface": {"mesh": None},
}


def start(folder: Path) -> subprocess.Popen:
    """Start ``brainenc run`` in its own process group."""
    folder.mkdir(exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pipelines.cli", "run", "study.yaml", "--cores", "2"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **quiet)


def digests(folder: Path) -> dict[str, str]:
    """Digest of every result; plans, reports, logs and timings speak of the run itself, not of its results."""
    root = folder / "results" / "killed"
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_file() and not name.startswith(("logs", "benchmarks", "report.html", ".lock", "plan.json")):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def test_a_killed_run_resumes_and_ends_the_same(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    began = time.monotonic()
    assert start(whole).wait(timeout=600) == 0
    duration = time.monotonic() - began
    generator = random.Random(0)
    kills = 0
    for _ in range(4):
        run = start(broken)
        time.sleep(duration * generator.uniform(0.1, 0.45))
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            kills += 1
        run.wait()
        final = [path for path in broken.rglob("*") if path.is_file() and ".partial-" not in path.name]
        assert all(path.stat().st_size for path in final if path.suffix in (".h5", ".json", ".safetensors"))
    assert kills >= 2, "the run was over before it could be killed: the test says nothing"
    assert start(broken).wait(timeout=600) == 0
    expected, found = digests(whole), digests(broken)
    assert expected and set(expected) <= set(found)
    assert {name: found[name] for name in expected} == expected


def test_digests_see_a_changed_byte(tmp_path: Path) -> None:
    root = tmp_path / "results" / "killed"
    root.mkdir(parents=True)
    (root / "a.h5").write_bytes(b"one")
    before = digests(tmp_path)
    (root / "a.h5").write_bytes(b"two")
    assert digests(tmp_path) != before
