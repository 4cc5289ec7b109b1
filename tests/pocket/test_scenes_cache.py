"""The cache holds what the renderer draws, goes on after a stop, grows, and tells what is wrong."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from brainenc.core.types import DataError
from brainenc.pocket import scenes_cache
from brainenc.pocket.scenes_cache import FIRST_SEED, main_category, open_scenes
from brainenc.world.scene_captions import STYLES, captions
from brainenc.world.scenes import CATEGORIES, Thing, plan_scene, render_scene


class Killed(Exception):
    """Stands for a machine that goes away."""


def test_it_holds_what_the_renderer_draws(scenes):
    assert scenes.images.shape == (192, 64, 64, 3) and scenes.images.dtype == np.uint8 and len(scenes) == 192
    for row in (0, 17, 191):
        seed = int(scenes.seeds[row])
        scene, plan = render_scene(seed), plan_scene(seed)
        assert seed == FIRST_SEED["train"] + row and np.array_equal(scenes.images[row], scene.image)
        assert scenes.things[row] == scene.things
        assert scenes.captions[row] == captions(plan) and scenes.test_captions[row] == captions(plan, wording="test")
        shown = [category for category, is_shown in zip(CATEGORIES, scenes.shown[row], strict=True) if is_shown]
        assert tuple(shown) == scene.categories and scenes.is_single[row] == (len(scene.things) == 1)
    assert scenes.styles == STYLES
    with pytest.raises(ValueError, match="read-only"):
        scenes.images[0] = 0


def test_the_splits_share_no_seed():
    ranges = [range(first, first + scenes_cache.MOST[split]) for split, first in FIRST_SEED.items()]
    for i, one in enumerate(ranges):
        assert not any(one.start < other.stop and other.start < one.stop for other in ranges[:i])
    assert all(r.stop <= 1_000_000 for split, r in zip(FIRST_SEED, ranges, strict=True) if split != "train")


def test_a_stopped_rendering_goes_on(tmp_path, monkeypatch):
    whole = open_scenes(tmp_path / "whole", "test", 40, size=16, processes=1)
    monkeypatch.setattr(scenes_cache, "BLOCK", 8)
    draw, drawn = scenes_cache._draw, []

    def dying(job):
        drawn.append(job[0] - FIRST_SEED["test"])
        if len(drawn) == 20:
            raise Killed
        return draw(job)

    monkeypatch.setattr(scenes_cache, "_draw", dying)
    with pytest.raises(Killed):
        open_scenes(tmp_path / "killed", "test", 40, size=16, processes=1)
    assert not list((tmp_path / "killed").glob("*.h5"))
    drawn.clear()
    monkeypatch.setattr(scenes_cache, "_draw", lambda job: drawn.append(job[0] - FIRST_SEED["test"]) or draw(job))
    resumed = open_scenes(tmp_path / "killed", "test", 40, size=16, processes=1)
    assert drawn == list(range(16, 40))
    assert np.array_equal(whole.images, resumed.images) and whole.captions == resumed.captions


def test_several_processes_draw_the_same(tmp_path, monkeypatch):
    one = open_scenes(tmp_path / "one", "test", 40, size=16, processes=1)
    monkeypatch.setattr(scenes_cache, "BLOCK", 16)
    two = open_scenes(tmp_path / "two", "test", 40, size=16, processes=2)
    assert np.array_equal(one.images, two.images) and one.captions == two.captions and one.things == two.things


def test_a_larger_cache_serves_smaller_wishes(tmp_path):
    large = open_scenes(tmp_path, "test", 12, size=16, processes=1)
    small = open_scenes(tmp_path, "test", 5, size=16, processes=1)
    assert small.path == large.path and len(small.captions) == len(small) == 5
    assert np.array_equal(small.images, large.images[:5])


def test_scenes_of_another_renderer_are_not_taken(tmp_path, monkeypatch):
    first = open_scenes(tmp_path, "test", 3, size=16, processes=1)
    monkeypatch.setattr(scenes_cache, "renderer_checksum", lambda: "0" * 64)
    assert open_scenes(tmp_path, "test", 3, size=16, processes=1).path != first.path


def test_a_damaged_file_and_a_partial_that_was_never_begun(tmp_path):
    path = open_scenes(tmp_path, "test", 3, size=16, processes=1).path
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(DataError, match="is damaged: delete it, and it is rendered again"):
        open_scenes(tmp_path, "test", 3, size=16, processes=1)
    path.unlink()
    path.with_suffix(".partial").write_bytes(whole[:100])
    assert len(open_scenes(tmp_path, "test", 3, size=16, processes=1)) == 3


def test_two_renderings_of_one_file_are_refused(tmp_path):
    path = open_scenes(tmp_path / "first", "test", 3, size=16, processes=1).path
    (tmp_path / "second").mkdir()
    with (
        h5py.File(tmp_path / "second" / path.with_suffix(".partial").name, "w"),
        pytest.raises((DataError), match="is being rendered by another process"),
    ):
        import subprocess
        import sys

        source = (
            "from pathlib import Path; from brainenc.pocket.scenes_cache import open_scenes; "
            f"open_scenes(Path({str(tmp_path / 'second')!r}), 'test', 3, size=16, processes=1)"
        )
        other = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
        raise DataError(other.stderr)


@pytest.mark.parametrize(
    "asked, told",
    [(("trian", 5), "Split 'trian' came"), (("test", 0), "0 scenes"), (("validation", 10**6), "1..100000")],
)
def test_refusals(tmp_path, asked, told):
    with pytest.raises(DataError, match=told):
        open_scenes(tmp_path, *asked)


def test_the_main_category_is_that_of_the_largest_thing():
    place = Thing("place", "a beach", (0.0, 0.0, 1.0, 1.0), {})
    small, large = Thing("tool", "a saw", (0.1, 0.1, 0.3, 0.3), {}), Thing("food", "soup", (0.4, 0.4, 0.9, 0.9), {})
    assert main_category([place, small, large]) == main_category([large, small]) == "food"
    assert main_category([place]) == "place" and main_category([]) == ""
