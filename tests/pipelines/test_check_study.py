"""check_study: says what a sound study will use, writes nothing else, takes seconds. Faults: `test_bad_input`."""

from __future__ import annotations

import time

from brainenc.core import storage
from pipelines.check_study import inspect_study
from pipelines.study import resolve_study
from tests.pipelines.conftest import toy_config


def test_a_sound_study_is_passed_in_seconds_and_nothing_is_written(toy, tmp_path):
    study = resolve_study(toy_config(toy.base / "data", tmp_path / "results"))
    start = time.perf_counter()
    found = inspect_study(study)
    assert time.perf_counter() - start < 5
    assert found["models"] == ["ridge/a", "banded/a+b", "banded/b", "banded/a"]
    assert not (tmp_path / "results").exists()


def test_what_was_found_is_written_for_the_graph(toy):
    found = storage.read_json(toy.folder / "checked.json")
    assert (found["study"], found["subjects"]) == ("toy", ["01"])
    assert found["provenance"]["step"] == "check_study"
