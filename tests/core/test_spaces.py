"""Spaces: a value scattered into the frame is found where its target is, and taken back unchanged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainenc.core.spaces import ParcelSpace, SensorSpace, Space, VertexSpace, VoxelSpace, space_from_dict
from tests.core.strategies import KINDS, one_of_each, spaces

QUICK = settings(max_examples=80, deadline=None)


def numbered(space: Space) -> np.ndarray:
    return np.arange(1, space.n_targets + 1, dtype=np.float32)


def masks(space: Space) -> st.SearchStrategy[np.ndarray]:
    n = space.n_targets
    return st.lists(st.booleans(), min_size=n, max_size=n).filter(any).map(np.array)


@QUICK
@given(spaces())
def test_gather_undoes_scatter(space):
    full = space.scatter(numbered(space))
    assert full.shape == space.frame
    assert np.array_equal(space.gather(full), numbered(space))
    assert np.isnan(full).sum() == full.size - space.n_targets


@QUICK
@given(spaces(), st.data())
def test_select_then_scatter_is_scatter_then_blank(space, data):
    mask = data.draw(masks(space))
    some = space.select(mask)
    assert type(some) is type(space) and some.n_targets == mask.sum()
    blanked = space.scatter(np.where(mask, numbered(space), np.nan))
    if isinstance(space, ParcelSpace):  # a parcel's frame is its own list of names
        blanked = blanked[mask]
    assert np.array_equal(some.scatter(numbered(space)[mask]), blanked, equal_nan=True)


@QUICK
@given(spaces(), st.data())
def test_selecting_twice_is_selecting_once(space, data):
    first = data.draw(masks(space))
    second = data.draw(masks(space.select(first)))
    both = np.zeros(space.n_targets, bool)
    both[np.flatnonzero(first)[second]] = True
    assert space.select(first).select(second) == space.select(both)


@QUICK
@given(spaces())
def test_a_space_is_rebuilt_from_its_parts(space):
    rebuilt = space_from_dict(space.kind, space.to_dict())
    assert rebuilt == space and type(rebuilt) is type(space)
    assert np.array_equal(rebuilt.positions, space.positions)


@QUICK
@given(spaces(), spaces())
def test_equal_spaces_put_values_in_equal_places(one, other):
    assert one == one.select(np.ones(one.n_targets, bool))
    if one == other:
        assert one.kind == other.kind and one.frame == other.frame
        assert np.array_equal(one.positions, other.positions)


def test_voxels_run_in_c_order():
    mask = np.zeros((2, 2, 2), bool)
    mask[0, 0, 1] = mask[0, 1, 0] = mask[1, 0, 0] = True
    volume = VoxelSpace(mask, np.eye(4)).scatter(np.array([1.0, 2.0, 3.0]))
    assert (volume[0, 0, 1], volume[0, 1, 0], volume[1, 0, 0]) == (1, 2, 3)


def test_a_mask_in_fortran_order_gives_the_same_places():
    mask = one_of_each()["voxel"].mask
    assert np.array_equal(
        VoxelSpace(np.asfortranarray(mask), np.eye(4)).scatter(np.arange(4.0)),
        VoxelSpace(mask, np.eye(4)).scatter(np.arange(4.0)),
        equal_nan=True,
    )


def test_vertices_keep_their_order_and_hemisphere():
    space = VertexSpace("toy", 3, 3, np.array([5, 0, 3]))
    full = space.scatter(np.array([1.0, 2.0, 3.0]))
    assert (full[5], full[0], full[3]) == (1, 2, 3)
    assert list(space.hemisphere) == ["right", "left", "right"]


def test_sensors_come_first_and_times_last():
    space = SensorSpace(("Oz", "Pz"), np.array([0.0, 0.1, 0.2]))
    assert np.array_equal(space.scatter(np.arange(6.0)), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("kind", KINDS)
def test_fill_and_integers(kind):
    space = one_of_each()[kind]
    full = space.scatter(np.arange(space.n_targets), fill=-1)
    assert np.array_equal(space.gather(full), np.arange(space.n_targets))
    assert (full == -1).sum() == full.size - space.n_targets


@pytest.mark.parametrize("kind", KINDS)
def test_spaces_differ_when_one_part_differs(kind):
    space = one_of_each()[kind]
    changed = {
        "voxel": lambda: VoxelSpace(space.mask, 2 * space.affine),
        "vertex": lambda: VertexSpace("fsaverage6", 4, 5, space.vertices),
        "sensor": lambda: SensorSpace(space.names, space.times + 1, space.kept),
        "parcel": lambda: ParcelSpace(space.names[::-1]),
    }[kind]()
    assert changed != space
    assert all(space != other for name, other in one_of_each().items() if name != kind)
    assert space != "a space" and space != None  # noqa: E711


@pytest.mark.parametrize("kind", KINDS)
def test_spaces_cannot_be_keys(kind):
    with pytest.raises(TypeError, match="unhashable"):
        hash(one_of_each()[kind])
