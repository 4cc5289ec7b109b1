from __future__ import annotations

import numpy as np
import pytest

from brainenc.core.types import DataError
from brainenc.surfaces.pycortex import page_positions, read_overlays, trace_path

HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape" '
    'width="200" height="100">'
)


def write(path, body, layer="rois"):
    path.write_text(f'{HEAD}<g inkscape:label="{layer}"><g inkscape:label="shapes">{body}</g></g></svg>')
    return path


def region(name, data, extra=""):
    return f'<g inkscape:label="{name}" {extra}><path d="{data}"/></g>'


def test_a_box_holds_the_vertices_drawn_inside_it(toy, tmp_path):
    points, used = page_positions(toy, (200, 100))
    file = write(
        tmp_path / "o.svg", region("left", "M 0,0 H 60 V 100 H 0 Z") + region("all", "m -1,-1 h 202 v 102 h -202 z")
    )
    regions = read_overlays(file, toy)
    np.testing.assert_array_equal(regions["left"], used & (points[:, 0] < 60))
    np.testing.assert_array_equal(regions["all"], used)
    assert not regions["left"][toy.left.n_vertices :].any()  # left on the page is the left hemisphere


def test_up_on_the_page_is_up_on_the_sheet(toy, tmp_path):
    regions = read_overlays(write(tmp_path / "o.svg", region("up", "M 0,-1 L 200,-1 L 200,50 L 0,50 Z")), toy)
    flat = np.concatenate([toy.left.flat, toy.right.flat])[:, 1]
    assert flat[regions["up"]].min() > flat[~regions["up"] & toy.on_flat].max() - 1


def test_two_paths_are_one_region_and_a_space_selects(toy, tmp_path):
    body = '<g inkscape:label="V1"><path d="M 0,0 h 30 v 100 h -30 z"/><path d="M 170,0 h 31 v 100 h -31 z"/></g>'
    file = write(tmp_path / "o.svg", body)
    whole = read_overlays(file, toy)["V1"]
    assert whole[: toy.left.n_vertices].any() and whole[toy.left.n_vertices :].any()
    kept = np.arange(toy.n_vertices) % 2 == 0
    np.testing.assert_array_equal(read_overlays(file, toy, toy.space.select(kept))["V1"], whole[kept])


def test_transforms_of_groups_are_applied(toy, tmp_path):
    plain = read_overlays(write(tmp_path / "a.svg", region("r", "M 20,10 h 60 v 50 h -60 z")), toy)["r"]
    moved = region("r", "M 10,5 h 30 v 25 h -30 z", 'transform="translate(0 0) scale(2)"')
    np.testing.assert_array_equal(read_overlays(write(tmp_path / "b.svg", moved), toy)["r"], plain)
    matrix = region("r", "M 15,5 h 60 v 50 h -60 z", 'transform="matrix(1 0 0 1 5 5)"')
    np.testing.assert_array_equal(read_overlays(write(tmp_path / "c.svg", matrix), toy)["r"], plain)


def area(polygons):
    return sum(abs(0.5 * np.sum(p[:, 0] * np.roll(p[:, 1], -1) - p[:, 1] * np.roll(p[:, 0], -1))) for p in polygons)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("M0,0 10,0 10,10 0,10z", 100),  # further pairs after M are lines
        ("m5-5l10,0 0,10-10,0z", 100),  # numbers without separators
        ("M0 0H10V10H0z m20 20h2v2h-2z", 104),  # a second subpath starts where the first closed
        ("M 0,0 L 10 0 10 10 L 0,1e1 Z", 100),
        ("M0 0 Q 5 10 10 0 z", 100 / 3),  # area under a parabola of height 5
        ("M0 0 C 0 10 10 10 10 0 z", 60),  # closed form: 3/10 (2 * 10 * 10)
        ("M0 0 C 0 10 10 10 10 0 S 20 -10 20 0 z", 120),
    ],
)
def test_path_commands(data, expected):
    polygons = trace_path(data)
    if "S" in data:  # the mirrored half lies below the axis: the signed areas cancel
        assert polygons[0][:, 1].max() == pytest.approx(-polygons[0][:, 1].min(), rel=0.02)
    else:
        assert area(polygons) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("data", ["", "L 1 1", "M 1 1 C 1 2 3", "M 0 0 X 3 3", "M 0 0 z 5 5"])
def test_broken_paths_are_refused(data):
    with pytest.raises(DataError, match=r"SVG path|region"):
        trace_path(data)


def test_errors_are_one_sentence(toy, fsaverage5, tmp_path):
    file = write(tmp_path / "o.svg", region("a", "M 0,0 h 9 v 9 z"))
    (tmp_path / "bad.svg").write_text("<svg")
    for call, words in (
        (lambda: read_overlays(file, toy, layer="sulci"), "no layer 'sulci'"),
        (lambda: read_overlays(file, toy, fsaverage5.space), "'fsaverage5'"),
        (lambda: read_overlays(tmp_path / "bad.svg", toy), "not a readable SVG"),
        (lambda: read_overlays(tmp_path / "none.svg", toy), "no such file"),
        (
            lambda: read_overlays(write(tmp_path / "r.svg", region("a", "M0 0h9v9z", 'transform="rotate(9)"')), toy),
            "'rotate'",
        ),
    ):
        with pytest.raises(DataError, match=words):
            call()
