"""read_receptive_fields: places that were planted come back, x to the right and y up, where the model predicts."""

from __future__ import annotations

import numpy as np
import pytest

from brainenc.core import storage
from brainenc.core.types import TargetMap
from pipelines.read_receptive_fields import read_receptive_fields
from tests.pipelines.token_world import N_TARGETS, SIDE, fit, make_world


def planted() -> tuple[np.ndarray, np.ndarray]:
    """Centres of the tokens that the targets follow, in shares of the width from the middle, y up."""
    row, column = np.divmod((3 * np.arange(N_TARGETS)) % SIDE**2, SIDE)
    return (column + 0.5) / SIDE - 0.5, 0.5 - (row + 0.5) / SIDE


@pytest.fixture
def maps(tmp_path):
    world = make_world(tmp_path, 300, smooth=True)
    made = fit(world, "fields")
    q = np.array([0.01] * (N_TARGETS - 1) + [0.5], np.float32)  # the last is not predicted
    storage.save_maps(world.folder / "scores.h5", {"q_value": TargetMap(q, world.space, "q")})

    def read(degrees):
        output = world.folder / "fields.h5"
        files = (world.folder / "responses.h5", made.output, made.card, world.folder / "scores.h5")
        read_receptive_fields(*files, {"degrees": degrees, "fdr": 0.05}, output)
        return storage.load_maps(output)

    return read


def test_planted_places_come_back_and_a_transposed_truth_does_not_fit(maps):
    found = {name: target_map.values[:-1] for name, target_map in maps(None).items()}
    x, y = (values[:-1] for values in planted())

    def error(x, y):
        return np.hypot(found["x"] - x, found["y"] - y).max()

    assert error(x, y) < 0.2 < min(error(y, x), error(x, -y), error(-x, y))  # a token is 0.25 wide
    np.testing.assert_allclose(found["eccentricity"], np.hypot(found["x"], found["y"]), rtol=1e-5)
    np.testing.assert_allclose(found["polar_angle"], np.degrees(np.arctan2(found["y"], found["x"])), rtol=1e-4)


def test_degrees_scale_the_places_and_what_is_not_predicted_has_none(maps):
    shares, degrees = maps(None), maps(8.0)
    for name in ("x", "y", "size", "eccentricity"):
        np.testing.assert_allclose(degrees[name].values, 8 * shares[name].values, rtol=1e-5)
        assert degrees[name].unit == "degrees" and np.isnan(degrees[name].values[-1])
    np.testing.assert_allclose(degrees["polar_angle"].values, shares["polar_angle"].values, rtol=1e-5)
