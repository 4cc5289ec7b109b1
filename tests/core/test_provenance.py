"""The record of what made a file: inputs by content, no time, no order, no memory shared."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys

import numpy as np
import pytest

import brainenc
from brainenc.core import provenance, share
from brainenc.core.types import DataError


def test_a_file_hash_is_that_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"brain" * 100_000)
    assert provenance.file_hash(tmp_path / "a") == hashlib.sha256(b"brain" * 100_000).hexdigest()


def test_a_content_hash_ignores_order_and_sees_every_value():
    one = {"a": 1, "b": [1, 2], "c": {"x", "y"}}
    assert provenance.content_hash(one) == provenance.content_hash(dict(reversed(one.items())))
    others = [{**one, "a": 2}, {**one, "b": [2, 1]}, {**one, "c": {"x"}}, {**one, "d": None}]
    assert len({provenance.content_hash(other) for other in [one, *others]}) == 5


def test_a_content_hash_sees_the_middle_of_a_long_array():
    long = np.arange(10_000)
    changed = long.copy()
    changed[5_000] = -1
    assert str(long) == str(changed)  # what a careless hash would take
    assert provenance.content_hash({"a": long}) != provenance.content_hash({"a": changed})


def test_a_content_hash_is_the_same_in_every_process():
    source = "from brainenc.core.provenance import content_hash; print(content_hash({'s': set('abcdefgh')}))"
    found = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", source], env=environment, capture_output=True, text=True, check=True
        )
        found.add(run.stdout)
    assert len(found) == 1


def test_a_record_names_step_parameters_inputs_seed_versions_and_commit(tmp_path):
    (tmp_path / "stimuli.tsv").write_text("stimulus_id\na\n")
    made = provenance.record("toy", {"alpha": 1.0}, {"stimuli": tmp_path / "stimuli.tsv"}, seed=3)
    assert list(made) == ["step", "parameters", "inputs", "seed", "versions", "commit"]
    assert made["inputs"] == {
        "stimuli": {"file": "stimuli.tsv", "sha256": hashlib.sha256(b"stimulus_id\na\n").hexdigest()}
    }
    assert (made["step"], made["parameters"], made["seed"]) == ("toy", {"alpha": 1.0}, 3)
    assert made["versions"]["brainenc"] == brainenc.__version__
    assert made["versions"]["python"] == platform.python_version()
    assert made["versions"]["numpy"] == np.__version__
    assert made["commit"]
    json.dumps(made)


def test_equal_work_has_equal_records_wherever_it_lies(tmp_path):
    records = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "in.tsv").write_text("x")
        records.append(provenance.record("toy", {}, {"in": tmp_path / folder / "in.tsv"}))
    assert records[0] == records[1]


def test_a_record_does_not_share_its_parts(tmp_path):
    parameters = {"alpha": 1.0}
    made = provenance.record("toy", parameters, {})
    made["versions"]["numpy"] = made["parameters"]["alpha"] = "changed"
    assert parameters == {"alpha": 1.0}
    assert provenance.record("toy", parameters, {})["versions"]["numpy"] == np.__version__


def test_shared_data_is_found_and_its_absence_named():
    assert share.find_shared("workflow").is_dir()
    with pytest.raises(DataError, match="'atlases/none' is not shipped"):
        share.find_shared("atlases/none")


def test_shared_data_of_an_installed_wheel_lies_inside_the_package(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "brainenc"
    (package / "_share" / "atlases" / "toy").mkdir(parents=True)
    monkeypatch.setattr(share, "__file__", str(package / "core" / "share.py"))
    assert share.find_shared("atlases/toy") == package / "_share" / "atlases" / "toy"
