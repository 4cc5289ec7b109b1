from __future__ import annotations

import sys
import time
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from brainenc.core.spaces import VoxelSpace
from brainenc.core.types import DataError, TargetMap
from brainenc.surfaces.figure import paint_categories, paint_flatmap, region_masks, save_figure


def texts(figure) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


@pytest.fixture
def regions(fsaverage5, smooth):
    points = np.concatenate([fsaverage5.left.shapes["pial"], fsaverage5.right.shapes["pial"]])
    return {"back": points[:, 1] < -80, "top": points[:, 2] > 60}


def test_a_map_has_title_quantity_unit_names_and_sides(smooth, regions):
    figure = paint_flatmap(smooth, regions=regions, title="Subject 01", width=400)
    found = texts(figure)
    for words in ("Subject 01", "r2 (fraction of variance)", "left hemisphere", "right hemisphere", "back", "top"):
        assert words in found
    assert "back" not in texts(paint_flatmap(smooth, regions=regions, names=False, width=400))


def test_names_do_not_overlap(smooth, fsaverage5):
    from matplotlib.text import Text

    centre = np.flatnonzero(fsaverage5.on_flat & (np.arange(fsaverage5.n_vertices) < 10242))[500]
    flat = fsaverage5.left.flat
    near = np.argsort(np.linalg.norm(flat - flat[centre], axis=1) + np.where(fsaverage5.left.on_flat, 0, np.inf))
    masks = {f"region {k}": np.isin(np.arange(fsaverage5.n_vertices), near[8 * k : 8 * k + 8]) for k in range(12)}
    figure = paint_flatmap(smooth, regions=masks, width=600)
    renderer = figure.canvas.get_renderer()
    boxes = [t.get_window_extent(renderer) for t in figure.findobj(Text) if t.get_text().startswith("region")]
    assert len(boxes) == 12
    for i, box in enumerate(boxes):
        for other in boxes[i + 1 :]:
            width = min(box.x1, other.x1) - max(box.x0, other.x0)
            height = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert width <= 1 or height <= 1


def test_two_dimensional_colour_names_both_quantities(smooth):
    reliability = TargetMap(np.abs(smooth.values), smooth.space, "noise ceiling", "fraction")
    found = texts(paint_flatmap(smooth, reliability=reliability, symmetric=True, width=400))
    assert "r2 (fraction of variance)" in found and "noise ceiling\n(fraction)" in found


def test_png_svg_and_pdf_are_written_whole_and_twice_the_same(smooth, regions, tmp_path):
    figure = paint_flatmap(smooth, regions=regions, title="t", width=400)
    for name in ("a.png", "a.svg", "a.pdf"):
        first = save_figure(figure, tmp_path / "new" / name).read_bytes()
        assert save_figure(figure, tmp_path / "new" / name).read_bytes() == first
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.pdf", "a.png", "a.svg"]
    assert Image.open(tmp_path / "new" / "a.png").size[0] == 1800


def test_svg_embeds_one_picture_and_keeps_outlines_as_vectors(smooth, regions, tmp_path):
    def count(masks):
        root = ElementTree.parse(
            save_figure(paint_flatmap(smooth, regions=masks, width=400), tmp_path / "a.svg")
        ).getroot()
        tags = [element.tag.rsplit("}")[-1] for element in root.iter()]
        return tags.count("image"), tags.count("path")

    (images, plain), (_, drawn) = count(None), count(regions)
    assert images == 2  # the flatmap and the colour bar
    assert drawn > plain + 4


def test_a_failed_write_leaves_nothing(smooth, tmp_path):
    figure = paint_flatmap(smooth, width=400)
    with pytest.raises(DataError, match="'.jpg'|.jpg"):
        save_figure(figure, tmp_path / "a.jpg")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    figure.savefig = fail
    with pytest.raises(OSError, match="disk full"):
        save_figure(figure, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_no_pyplot_and_no_change_of_global_settings(smooth, tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    had = "matplotlib.pyplot" in sys.modules
    save_figure(paint_flatmap(smooth, width=400), tmp_path / "a.svg")
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == had


def test_categories_take_their_own_colours_and_names(smooth, fsaverage5):
    values = np.full(fsaverage5.n_vertices, np.nan)
    values[:5000], values[12000:15000] = 7, 2
    labels = TargetMap(values, fsaverage5.space, "preferred category")
    figure = paint_categories(labels, {7: "faces", 2: "places"}, colours={7: "#ff0000", 2: "#0000ff"}, width=400)
    picture = figure.axes[0].images[0].get_array()
    middle = picture.shape[1] // 2
    red, blue = ((picture[..., :3] == colour).all(-1) for colour in ([255, 0, 0], [0, 0, 255]))
    assert red[:, :middle].any() and not red[:, middle:].any()
    assert blue[:, middle:].any() and not blue[:, :middle].any()
    assert {"faces", "places", "preferred category"} <= set(texts(figure))
    with pytest.raises(DataError, match="label 2 has no name"):
        paint_categories(labels, {7: "faces"}, width=400)


def test_a_partial_space_paints_only_its_targets(smooth, fsaverage5):
    kept = np.zeros(fsaverage5.n_vertices, bool)
    kept[np.random.default_rng(0).permutation(fsaverage5.n_vertices)[:300]] = True
    part = TargetMap(smooth.values[kept], smooth.space.select(kept), "r2")
    hidden = TargetMap(np.where(kept, smooth.values, np.nan), smooth.space, "r2")
    pictures = [paint_flatmap(m, vmin=-1, vmax=1, width=400).axes[0].images[0].get_array() for m in (part, hidden)]
    np.testing.assert_array_equal(*pictures)


def test_masks_of_targets_or_of_the_frame(smooth, fsaverage5):
    kept = np.arange(fsaverage5.n_vertices) % 3 == 0
    part = TargetMap(smooth.values[kept], smooth.space.select(kept), "r2")
    mask = np.arange(part.space.n_targets) < 50
    full = region_masks(part, {"a": mask})["a"]
    assert np.array_equal(np.flatnonzero(full), part.space.vertices[:50])
    assert np.array_equal(region_masks(part, {"a": full})["a"], full)


def test_a_map_takes_less_than_two_seconds_after_the_lookup(smooth, regions, tmp_path):
    paint_flatmap(smooth, regions=regions)
    start = time.perf_counter()
    save_figure(paint_flatmap(smooth, regions=regions, reliability=smooth), tmp_path / "a.png")
    assert time.perf_counter() - start < 4  # about 1 s alone; room for a busy machine


def test_errors_are_one_sentence(smooth, fsaverage5, toy):
    voxels = TargetMap(np.zeros(8), VoxelSpace(np.ones((2, 2, 2), bool), np.eye(4)), "r2")
    with pytest.raises(DataError, match="project_to_surface"):
        paint_flatmap(voxels)
    with pytest.raises(DataError, match="'toy'"):
        paint_flatmap(smooth, toy)
    with pytest.raises(DataError, match="region 'V1'.*one per target"):
        paint_flatmap(smooth, regions={"V1": np.zeros(5, bool)}, width=400)
    with pytest.raises(DataError, match="another space"):
        paint_flatmap(smooth, reliability=TargetMap(np.zeros(63), toy.space, "ceiling"), width=400)
    with pytest.raises(DataError, match="rainbow"):
        paint_flatmap(smooth, cmap="jet", width=400)


def test_an_all_nan_map_says_so(smooth):
    empty = TargetMap(np.full_like(smooth.values, np.nan), smooth.space, "r2")
    assert "r2: no finite value" in texts(paint_flatmap(empty, width=400))
