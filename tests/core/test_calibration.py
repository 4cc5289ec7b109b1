"""Calibration: measured in children, kept for the day, and believed for the machine that made it only."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from brainenc.core import calibration
from brainenc.core.calibration import Calibration, cache_file, calibrate, known
from brainenc.core.types import DataError

IMPORTS = {"light": "import numpy", "heavier": "import numpy, pandas; held = numpy.ones(2**23)"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))


@pytest.fixture(scope="module")
def made(home, tmp_path_factory) -> Calibration:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        return calibrate(tmp_path_factory.mktemp("results") / "not" / "yet", 1, IMPORTS)


def test_rates_are_plausible(made):
    for name in ("flops32", "flops64", "eigh_flops", "copy"):
        assert 1e8 < getattr(made, name) < 1e15, name
    assert made.flops32 > made.flops64 > made.eigh_flops / 2
    assert made.read > 1e6 and made.write > 1e5


def test_a_process_that_holds_more_is_seen_to_hold_more(made):
    light, heavier = made.starts["light"], made.starts["heavier"]
    assert heavier.ram > light.ram + 2**25  # an array of 64 MiB and pandas
    assert light.ram > 5e6 and light.address_space > light.ram and light.seconds > 0


def test_it_is_kept_and_found_again(made, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "calibrate", lambda *_: pytest.fail("measured although it was known"))
    assert known(1, IMPORTS) == made
    assert calibration.calibration(tmp_path, 1, IMPORTS) == made


def test_it_is_measured_anew_if_asked_or_if_something_else_is_wanted(made, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "calibrate", lambda *_: "measured")
    assert calibration.calibration(tmp_path, 1, IMPORTS, again=True) == "measured"
    assert calibration.calibration(tmp_path, 2, IMPORTS) == "measured"
    assert calibration.calibration(tmp_path, 1, {"light": "import json"}) == "measured"


@pytest.mark.parametrize("change", [{"made": "2001-01-01"}, {"threads": None, "unheard_of": 1}])
def test_what_is_old_or_of_another_version_is_not_believed(made, change, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache_file(1).parent.mkdir(parents=True)
    cache_file(1).write_text(json.dumps({**asdict(made), "imports": IMPORTS, **change}))
    assert known(1, IMPORTS) is None
    cache_file(1).write_text("{ cut sho")
    assert known(1, IMPORTS) is None


def test_a_child_that_fails_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="No module named 'not_installed'.*mend the installation"):
        calibrate(tmp_path, 1, {"broken": "import not_installed"})
