from __future__ import annotations

import numpy as np
import pytest

from brainenc.core.types import TargetMap
from brainenc.surfaces.mesh import Hemisphere, SurfaceMesh, load_mesh


@pytest.fixture(scope="session")
def fsaverage5() -> SurfaceMesh:
    return load_mesh("fsaverage5")


def _sheet(n: int, seed: int, side: float) -> Hemisphere:
    """An n x n grid of triangles, jittered, counter-clockwise, with a far vertex that is on no triangle."""
    generator = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(n, dtype=float), np.arange(n, dtype=float))
    flat = np.stack([x.ravel(), y.ravel()], 1) + generator.uniform(-0.2, 0.2, (n * n, 2))
    corner = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + 1, corner + n + 1], 1), np.stack([corner, corner + n + 1, corner + n], 1)]
    )
    flat = np.concatenate([flat, [[999.0, 999.0]]])
    folded = np.column_stack([np.full(n * n + 1, side), flat[:, 0], flat[:, 1]])
    return Hemisphere(
        faces, flat, faces, {"white": folded, "pial": folded * [1.1, 1, 1]}, generator.normal(size=n * n + 1)
    )


@pytest.fixture(scope="session")
def toy() -> SurfaceMesh:
    """Two small sheets of different sizes: 26 and 37 vertices."""
    return SurfaceMesh("toy", _sheet(5, 0, -30.0), _sheet(6, 1, 30.0))


@pytest.fixture
def smooth(fsaverage5: SurfaceMesh) -> TargetMap:
    points = np.concatenate([fsaverage5.left.shapes["pial"], fsaverage5.right.shapes["pial"]])
    values = np.where(fsaverage5.on_flat, np.sin(points[:, 1] / 20), np.nan).astype(np.float32)
    return TargetMap(values, fsaverage5.space, "r2", "fraction of variance")
