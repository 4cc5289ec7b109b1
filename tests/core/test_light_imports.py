"""The foundation is light: importing it loads nothing heavy, and importing the package loads nearly nothing."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

from brainenc import core

HEAVY = {
    "torch", "torchvision", "sklearn", "nilearn", "nibabel", "matplotlib", "himalaya", "open_clip", "timm",
    "transformers", "snakemake",
}  # fmt: skip
MODULES = [f"brainenc.core.{module.name}" for module in pkgutil.iter_modules(core.__path__)]


def loaded_by(statement: str) -> tuple[set[str], float]:
    """Top-level modules in memory after ``statement`` in a new process, and the seconds it took."""
    source = (
        f"import time; start = time.perf_counter(); {statement}; took = time.perf_counter() - start\n"
        "import json, sys; print(json.dumps([sorted({m.split('.')[0] for m in sys.modules}), took]))"
    )
    run = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    modules, took = json.loads(run.stdout)
    return set(modules), took


@pytest.mark.parametrize("module", MODULES)
def test_core_loads_nothing_heavy(module):
    loaded, _ = loaded_by(f"import {module}")
    assert "brainenc" in loaded and not loaded & HEAVY


def test_the_package_loads_no_array_library_and_takes_under_half_a_second():
    runs = [loaded_by("import brainenc") for _ in range(3)]
    loaded = runs[0][0]
    assert not loaded & (HEAVY | {"numpy", "pandas", "h5py", "scipy", "safetensors"})
    assert min(took for _, took in runs) < 0.5


def test_the_list_of_modules_sees_a_heavy_one():
    loaded, _ = loaded_by("import brainenc, sklearn")
    assert loaded & HEAVY == {"sklearn"}
