"""paint_maps: which pictures a subject gets and what they say; the spaces are in `test_export_maps`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from brainenc.core import storage
from pipelines.paint_maps import _field_pictures, _pictures
from tests.pipelines.toy_steps import folder_of


@pytest.fixture
def pictures(toy):
    def made(best=None):
        labels = [model.label for model in toy.study.models]
        scored = {label: storage.load_maps(folder_of(toy, label) / "scores.h5") for label in labels}
        parts = {"banded/a+b": storage.load_maps(folder_of(toy, "banded/a+b") / "partition.h5")}
        best = best or storage.load_maps(toy.subject / "ceiling.h5")
        return {picture.name: picture for picture in _pictures(best, scored, parts, {})}

    return made


def test_targets_without_a_place_are_not_painted_but_listed_as_none(toy):
    assert storage.read_json(toy.subject / "figures" / "figures.json") == []


def test_all_models_share_one_colour_scale(toy, pictures):
    scores = [picture for name, picture in pictures().items() if name.endswith("_correlation")]
    assert len(scores) == len(toy.study.models)
    assert len({(picture.vmin, picture.vmax) for picture in scores}) == 1
    assert scores[0].vmax >= 0.9


def test_the_best_model_is_shown_beside_its_reliability(pictures):
    beside = pictures()["banded_a+b_reliability"]
    assert beside.reliability.quantity == "noise ceiling of correlation"
    assert "opacity: noise ceiling" in beside.caption


def test_without_a_ceiling_nothing_is_normalised(toy, pictures):
    best = storage.load_maps(toy.subject / "ceiling.h5")
    empty = {name: type(m)(np.full(24, np.nan), m.space, m.quantity, m.unit) for name, m in best.items()}
    names = set(pictures(empty))
    assert "ceiling" not in names
    assert not any(name.endswith(("_reliability", "_normalised")) for name in names)


def test_where_every_score_is_negative_or_undefined_there_is_still_a_scale(toy):
    best = storage.load_maps(toy.subject / "ceiling.h5")
    maps = storage.load_maps(folder_of(toy, "ridge/a") / "scores.h5")
    for values in (np.full(24, -0.05), np.full(24, np.nan)):
        below = {name: replace(target_map, values=values) for name, target_map in maps.items()}
        assert all(picture.vmax > picture.vmin for picture in _pictures(best, {"ridge/a": below}, {}, {}))


def test_receptive_fields_are_painted_as_eccentricity_and_as_an_angle_that_runs_in_a_circle(toy):
    r = storage.load_maps(folder_of(toy, "ridge/a") / "scores.h5")["correlation"]
    painted = {p.name: p for p in _field_pictures({"core/pixels": {"eccentricity": r, "polar_angle": r}})}
    assert set(painted) == {"core_pixels_eccentricity", "core_pixels_angle"}
    angle = painted["core_pixels_angle"]
    assert (angle.vmin, angle.vmax, angle.cmap) == (-180, 180, "twilight") and angle.model == "core/pixels"
