"""Snakemake and the command ``brainenc`` as users call them, in a folder of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SNAKEFILE = ROOT / "workflow" / "Snakefile"
BIN = Path(sys.executable).parent


def call(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with this interpreter's programs first on the path, its output as text."""
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(ROOT)
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=1500)


def snakemake(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return call(sys.executable, "-m", "snakemake", *arguments, cwd=cwd)


def dry_run(study: Path, cwd: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["--snakefile", SNAKEFILE, "--cores", "2", "--dry-run", "--configfile", study, *arguments]
    return snakemake(*command, cwd=cwd)


def jobs(output: str) -> dict[str, int]:
    """Number of jobs of each rule, from the table that Snakemake prints."""
    table = output[output.index("Job stats:") :]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table.split("\n\n")[0], re.M)}
