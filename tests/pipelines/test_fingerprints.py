"""A change of the user's files changes the fingerprint of what is computed from them, and of nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.fingerprints import data_fingerprint, entry_fingerprint


@pytest.fixture()
def root(tmp_path: Path) -> Path:
    for name in ("stimuli.tsv", "images/a.png", "sub-01_responses.npy", "sub-02_responses.npy", "sub-01_samples.tsv"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "data"


def touch(path: Path) -> None:
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 10**9))


@pytest.mark.parametrize(
    ("changed", "stimuli", "first", "second"),
    [
        ("stimuli.tsv", True, True, True),
        ("images/a.png", True, True, True),
        ("sub-01_responses.npy", False, True, False),
        ("sub-02_responses.npy", False, False, True),
    ],
)
def test_each_part_depends_on_its_own_files(root: Path, changed: str, stimuli: bool, first: bool, second: bool) -> None:
    entry = {"class": "folder", "root": str(root)}
    before = [data_fingerprint(entry, subject) for subject in (None, "01", "02")]
    assert before == [data_fingerprint(entry, subject) for subject in (None, "01", "02")]
    touch(root / changed)
    after = [data_fingerprint(entry, subject) for subject in (None, "01", "02")]
    assert [a != b for a, b in zip(after, before, strict=True)] == [stimuli, first, second]


def test_data_that_are_made_have_no_files() -> None:
    assert data_fingerprint({"class": "planted", "seed": 0}, "01") == ""


def test_checkpoints_arrays_and_mesh_files_count(root: Path) -> None:
    entry = {"class": "timm", "checkpoint": str(root / "images/a.png"), "files": {"left": {"flat": str(root)}}}
    before = entry_fingerprint(entry)
    touch(root / "images/a.png")
    assert entry_fingerprint(entry) != before
    assert entry_fingerprint({"class": "table", "columns": ["size_*"]}) == entry_fingerprint({"class": "gabor"})
