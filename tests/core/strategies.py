"""Hypothesis strategies that the tests of the foundation share: names, spaces of every kind, repeated samples."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from brainenc.core.spaces import ParcelSpace, SensorSpace, Space, VertexSpace, VoxelSpace

# Any character that UTF-8 knows but NUL, which ends a string in HDF5.
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6)
IDS = NAMES.filter(lambda name: name != "n/a")
KINDS = ("voxel", "vertex", "sensor", "parcel")


@st.composite
def voxel_spaces(draw: st.DrawFn) -> VoxelSpace:
    shape = draw(st.tuples(*[st.integers(1, 4)] * 3))
    mask = draw(hnp.arrays(bool, shape).filter(np.any))
    affine = np.diag([*draw(st.tuples(*[st.sampled_from([-3.0, 1.0, 2.5])] * 3)), 1.0])
    affine[:3, 3] = draw(st.tuples(*[st.floats(-90, 90)] * 3))
    return VoxelSpace(mask, affine)


@st.composite
def vertex_spaces(draw: st.DrawFn) -> VertexSpace:
    n_left, n_right = draw(st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(any))
    vertices = draw(st.lists(st.integers(0, n_left + n_right - 1), min_size=1, unique=True))
    dtype = draw(st.sampled_from([np.int64, np.int32, np.uint16]))
    return VertexSpace(draw(NAMES), n_left, n_right, np.array(vertices, dtype))


@st.composite
def sensor_spaces(draw: st.DrawFn) -> SensorSpace:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    times = np.sort(draw(st.lists(st.floats(-1, 2), min_size=1, max_size=4, unique_by=lambda t: t + 0.0)))
    size = len(names) * len(times)
    kept = draw(st.none() | st.lists(st.integers(0, size - 1), min_size=1, unique=True).map(np.array))
    return SensorSpace(tuple(names), times, kept)


def parcel_spaces() -> st.SearchStrategy[ParcelSpace]:
    return st.lists(NAMES, min_size=1, max_size=8, unique=True).map(lambda names: ParcelSpace(tuple(names)))


def spaces() -> st.SearchStrategy[Space]:
    return st.one_of(voxel_spaces(), vertex_spaces(), sensor_spaces(), parcel_spaces())


def one_of_each() -> dict[str, Space]:
    """A small space of every kind, each with a gap: not every place of the frame holds a target."""
    mask = np.zeros((3, 2, 2), bool)
    mask[[0, 1, 2, 2], [1, 0, 0, 1], [0, 1, 0, 1]] = True
    return {
        "voxel": VoxelSpace(mask, np.array([[-2, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1.0]])),
        "vertex": VertexSpace("fsaverage5", 4, 5, np.array([8, 0, 3, 4])),
        "sensor": SensorSpace(("Oz", "Pz", "P/O 3"), np.array([-0.1, 0.0, 0.1]), np.array([0, 4, 5, 8])),
        "parcel": ParcelSpace(("V1", "hV4", "Größe %", "a/b")),
    }


@st.composite
def repeated_samples(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Values (n_samples, n_targets) with NaN, and stimulus ids that repeat."""
    pool = draw(st.lists(IDS, min_size=1, max_size=5, unique=True))
    ids = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=12))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    numbers = st.floats(-100, 100, width=32) | st.just(np.nan)
    values = draw(hnp.arrays(dtype, (len(ids), draw(st.integers(1, 4))), elements=numbers))
    return values, np.array(ids, object)
