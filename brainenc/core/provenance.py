"""What made a file: step, parameters, input hashes, seed, versions, commit; the same record for every file."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import brainenc

PACKAGES = (
    "numpy",
    "scipy",
    "pandas",
    "torch",
    "himalaya",
    "scikit-learn",
    "nilearn",
    "nibabel",
    "timm",
    "open_clip_torch",
    "transformers",
    "snakemake",
)


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_hash(content: Any) -> str:
    """SHA-256 of plain content (JSON, sorted keys), hexadecimal."""
    return hashlib.sha256(json.dumps(plain(content), sort_keys=True).encode()).hexdigest()


def plain(content: Any) -> Any:
    """Content with numpy, paths, sets (sorted) and NaN replaced by what JSON knows."""
    if isinstance(content, Mapping):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [plain(value) for value in content]
    if isinstance(content, (set, frozenset)):
        return sorted((plain(value) for value in content), key=repr)
    if isinstance(content, np.ndarray):
        return plain(content.tolist())
    if isinstance(content, np.generic):
        return plain(content.item())
    if isinstance(content, float):
        return content if np.isfinite(content) else None
    if isinstance(content, Path):
        return str(content)
    return content


@lru_cache(1)
def versions() -> dict[str, str]:
    """Versions of Python, of this project and of the packages that make numbers."""
    found = {"python": platform.python_version(), "brainenc": brainenc.__version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@lru_cache(1)
def commit() -> str:
    """Commit of the clone that runs, with ``+changes`` if it was edited; ``unknown`` outside a clone."""
    root = Path(brainenc.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return "unknown"
    try:
        run = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+changes"]
        return subprocess.run(run, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def record(
    step: str, parameters: Mapping[str, Any], inputs: Mapping[str, Path | str], seed: int | None = None
) -> dict[str, Any]:
    """Provenance of one output.

    Parameters
    ----------
    step : str
        Name of the step.
    parameters : mapping
        The resolved parameters that decide its content.
    inputs : mapping of name -> path
        Files it reads; each is hashed.
    seed : int, optional

    Returns
    -------
    dict
        Without a time stamp, so that equal work gives equal bytes.
    """
    return {
        "step": step,
        "parameters": dict(parameters),
        "inputs": {name: {"file": Path(path).name, "sha256": file_hash(path)} for name, path in inputs.items()},
        "seed": seed,
        "versions": dict(versions()),
        "commit": commit(),
    }
