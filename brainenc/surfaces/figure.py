"""A map of vertices as a flatmap figure: picture, curvature, outlines, names, colour bar with quantity and unit.

Headless: plain `matplotlib.figure.Figure` objects, no pyplot, no global state, no display.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainenc.core.storage import atomic_path
from brainenc.core.types import DataError, TargetMap
from brainenc.surfaces.colour import ColourScale, ReliabilityScale, category_colours, check_colours
from brainenc.surfaces.flatmap import FlatmapLookup, flatmap_lookup
from brainenc.surfaces.mesh import SurfaceMesh
from brainenc.surfaces.outlines import Anchor, anchor_names, outline_region, spread_boxes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#222222"
_WIDTH = 10.0  # inches
_STRIP, _SQUARE_STRIP = 0.85, 1.45  # inches under the picture for the colour bar, for the two-dimensional legend
_FORMATS = (".png", ".svg", ".pdf")


def paint_flatmap(
    target_map: TargetMap,
    mesh: SurfaceMesh | str = "fsaverage5",
    regions: Mapping[str, np.ndarray] | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Any = None,
    symmetric: bool = False,
    reliability: TargetMap | None = None,
    reliability_limits: tuple[float, float] | None = None,
    title: str = "",
    names: bool = True,
    interpolation: str = "nearest",
    width: int = 1800,
) -> Figure:
    """Paint one number per vertex on the flatmap.

    Parameters
    ----------
    target_map : TargetMap in VertexSpace
        NaN and vertices outside the space stay transparent over the curvature.
    mesh : SurfaceMesh or name
    regions : mapping of name to bool array, shape (n_targets,) or (n_vertices,), optional
        Outlined, and named when ``names``.
    vmin, vmax, cmap, symmetric
        See `ColourScale.of`; ``symmetric`` is for signed quantities.
    reliability : TargetMap on the same space, optional
        Two-dimensional colour: hue and lightness tell the value, opacity its reliability (a noise ceiling, say).
    reliability_limits : (float, float), optional
        Reliability shown transparent and shown opaque; 0 and the 95th percentile by default.
    interpolation : {"nearest", "linear"}
    width : int
        Pixels of the picture.

    Raises
    ------
    DataError
        Map of another space or mesh, masks of another length, limits the wrong way round, a rainbow.
    """
    lookup = _lookup(target_map, mesh, width)
    masks = region_masks(target_map, regions)
    values = target_map.space.scatter(target_map.values)
    scale = ColourScale.of(target_map.values, vmin, vmax, cmap, symmetric)
    fade, trust = None, None
    if reliability is not None:
        trust = _reliability_values(reliability, target_map)
        fade = ReliabilityScale(*reliability_limits) if reliability_limits else ReliabilityScale.of(reliability.values)
    figure, axes = _frame(lookup, title, _STRIP if fade is None else _SQUARE_STRIP)
    _show(axes, lookup, lookup.paint(values, scale, trust, fade, interpolation))
    _draw_regions(axes, lookup, masks, names)
    if reliability is None or fade is None:
        draw_bar(figure, scale, target_map)
    else:
        _draw_square(figure, scale, target_map, fade, reliability)
    return figure


def paint_categories(
    labels: TargetMap,
    categories: Mapping[int, str],
    mesh: SurfaceMesh | str = "fsaverage5",
    colours: Mapping[int, Any] | None = None,
    regions: Mapping[str, np.ndarray] | None = None,
    reliability: TargetMap | None = None,
    title: str = "",
    names: bool = True,
    width: int = 1800,
) -> Figure:
    """Paint integer labels (preferred category, atlas) with a legend of names.

    ``labels.values`` hold integers or NaN; ``categories`` names each, in legend order. ``reliability`` fades as in
    `paint_flatmap`.

    Raises
    ------
    DataError
        A label that is no integer or has no name, or anything `paint_flatmap` refuses.
    """
    lookup = _lookup(labels, mesh, width)
    masks = region_masks(labels, regions)
    codes = list(categories)
    finite = np.unique(labels.values[np.isfinite(labels.values)])
    unknown = [value for value in finite if value not in categories]
    if unknown:
        raise DataError(f"paint_categories: label {unknown[0]:g} has no name, wanted one of {codes[:20]}: name it.")
    palette = category_colours(len(codes)) if colours is None else check_colours([colours[code] for code in codes])
    values = lookup.sample(labels.space.scatter(labels.values))
    index = np.searchsorted(np.sort(codes), np.nan_to_num(values, nan=codes[0]))
    alpha = np.isfinite(values).astype(np.float32)
    if reliability is not None:
        trust = _reliability_values(reliability, labels)
        alpha *= ReliabilityScale.of(reliability.values).alpha(lookup.sample(trust))
    figure, axes = _frame(lookup, title)
    _show(axes, lookup, lookup.compose(palette[np.argsort(codes)][index], alpha))
    _draw_regions(axes, lookup, masks, names)
    _draw_legend(figure, labels, list(categories.values()), palette)
    return figure


def save_figure(figure: Figure, path: str | Path, dpi: int = 180) -> Path:
    """Write a figure as PNG, SVG or PDF by its suffix, atomically; the same figure gives the same bytes.

    SVG holds the picture as one embedded PNG and everything else as vectors.
    """
    import matplotlib

    path = Path(path)
    if path.suffix not in _FORMATS:
        raise DataError(
            f"{path}: cannot write {path.suffix or 'a file without suffix'}, wanted one of {list(_FORMATS)}."
        )
    metadata = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[path.suffix]
    with (
        matplotlib.rc_context({"svg.hashsalt": "brainenc", "svg.fonttype": "path"}),
        atomic_path(path) as temporary,
    ):
        figure.savefig(temporary, dpi=dpi, metadata=metadata, facecolor="white")
    return path


def region_masks(target_map: TargetMap, regions: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
    """Masks over the whole frame from masks over the targets or over the frame; `DataError` for other lengths."""
    space, masks = target_map.space, {}
    for name, mask in (regions or {}).items():
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape not in ((space.n_targets,), space.frame):
            raise DataError(
                f"region {name!r}: mask is {mask.dtype} of shape {mask.shape}, wanted bool of shape "
                f"({space.n_targets},), one per target of the map."
            )
        if mask.shape == (space.n_targets,):
            full = np.zeros(int(np.prod(space.frame)), bool)
            full[space.positions] = mask
            mask = full.reshape(space.frame)
        masks[name] = mask
    return masks


def empty_figure(width: float, height: float) -> Figure:
    """A white Figure of so many inches with an Agg canvas, outside pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _lookup(target_map: TargetMap, mesh: SurfaceMesh | str, width: int) -> FlatmapLookup:
    lookup = flatmap_lookup(mesh, width)
    lookup.mesh.check(target_map.space, f"map {target_map.quantity!r}")
    return lookup


def _reliability_values(reliability: TargetMap, target_map: TargetMap) -> np.ndarray:
    if reliability.space != target_map.space:
        raise DataError(
            f"reliability {reliability.quantity!r} is on another space than {target_map.quantity!r}, wanted the same "
            "targets in the same order: compute both from the same responses."
        )
    return reliability.space.scatter(reliability.values)


def _frame(lookup: FlatmapLookup, title: str, strip: float = _STRIP) -> tuple[Figure, Axes]:
    picture = _WIDTH * lookup.shape[0] / lookup.shape[1]
    head = 0.4 if title else 0.05
    height = picture + head + strip
    figure = empty_figure(_WIDTH, height)
    axes = figure.add_axes((0, strip / height, 1, picture / height))
    axes.set_axis_off()
    if title:
        figure.text(0.5, 1 - 0.22 / height, title, ha="center", va="center", fontsize=13, color=INK)
    for x, side, align in ((0.012, "left", "left"), (0.988, "right", "right")):
        figure.text(x, strip / height + 0.02, f"{side} hemisphere", ha=align, va="bottom", fontsize=9, color="#666666")
    return figure, axes


def _show(axes: Axes, lookup: FlatmapLookup, rgba: np.ndarray) -> None:
    axes.imshow(rgba, extent=lookup.extent, origin="upper", interpolation="antialiased", aspect="auto")
    axes.set_xlim(*lookup.extent[:2])
    axes.set_ylim(*lookup.extent[2:])


def _draw_regions(axes: Axes, lookup: FlatmapLookup, masks: dict[str, np.ndarray], names: bool) -> None:
    from matplotlib.collections import LineCollection

    curves = [curve for mask in masks.values() for curve in outline_region(lookup, mask)]
    fine = 1.0 if len(masks) <= 60 else 0.5
    for colour, thickness in (("black", 2.4 * fine), ("white", 1.1 * fine)):
        axes.add_collection(
            LineCollection(curves, colors=colour, linewidths=thickness, capstyle="round", joinstyle="round")
        )
    if names:
        _draw_names(axes, anchor_names(lookup, masks))


def _draw_names(axes: Axes, anchors: list[Anchor]) -> None:
    """Write every name with a halo; a name pushed off its region gets a leader line."""
    from matplotlib.patheffects import withStroke

    if not anchors:
        return
    size = float(np.clip(9.5 * (12 / len(anchors)) ** 0.28, 4.0, 9.5))
    halo = [withStroke(linewidth=0.23 * size, foreground="black")]
    style = {"ha": "center", "va": "center", "color": "white", "fontsize": size, "fontweight": "bold"}
    texts = [axes.text(a.x, a.y, a.name, path_effects=halo, zorder=5, **style) for a in anchors]
    renderer = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = np.array([text.get_window_extent(renderer).extents for text in texts])
    sizes = boxes[:, 2:] - boxes[:, :2] + [4.0, 1.0]
    centres = 0.5 * (boxes[:, 2:] + boxes[:, :2])
    placed = spread_boxes(centres, sizes, axes.bbox.get_points())
    sheet = axes.transData.inverted().transform(placed)
    for text, anchor, (x, y), moved, box in zip(texts, anchors, sheet, np.abs(placed - centres), sizes, strict=True):
        text.set_position((x, y))
        if (moved > 0.5 * box).any():
            line = axes.plot([anchor.x, x], [anchor.y, y], color="white", linewidth=0.9, zorder=4)[0]
            line.set_path_effects([withStroke(linewidth=2.0, foreground="black")])


def _label(target_map: TargetMap) -> str:
    return f"{target_map.quantity} ({target_map.unit})" if target_map.unit else target_map.quantity


def draw_bar(figure: Figure, scale: ColourScale, target_map: TargetMap) -> None:
    """Draw the colour bar with quantity and unit in the strip at the foot of a figure."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    height = figure.get_figheight()
    if not np.isfinite(target_map.values).any():
        figure.text(0.5, 0.5 / height, f"{_label(target_map)}: no finite value", ha="center", fontsize=10, color=INK)
        return
    axes = figure.add_axes((0.33, 0.52 / height, 0.34, 0.16 / height))
    mappable = ScalarMappable(Normalize(scale.vmin, scale.vmax), scale.colormap)
    extend = scale.extend(target_map.values)
    bar = figure.colorbar(mappable, cax=axes, orientation="horizontal", extend=extend, extendfrac=0.03)
    bar.set_label(_label(target_map), fontsize=10, color=INK)
    bar.ax.tick_params(labelsize=9, color=INK, labelcolor=INK)
    bar.outline.set_linewidth(0.5)  # type: ignore[operator]


def _draw_square(
    figure: Figure, scale: ColourScale, target_map: TargetMap, fade: ReliabilityScale, reliability: TargetMap
) -> None:
    """The two-dimensional legend: value to the right, reliability upwards, over the grey of the curvature."""
    height = figure.get_figheight()
    axes = figure.add_axes((0.43, 0.5 / height, 0.14, 0.85 / height))
    value = np.broadcast_to(np.linspace(scale.vmin, scale.vmax, 128), (64, 128))
    alpha = np.linspace(0, 1, 64)[:, None, None]
    picture = alpha * scale.colours(value) + (1 - alpha) * 173
    axes.imshow(
        picture.astype(np.uint8), origin="lower", aspect="auto", extent=(scale.vmin, scale.vmax, fade.low, fade.high)
    )
    axes.set_xlabel(_label(target_map), fontsize=10, color=INK)
    axes.set_ylabel(
        _label(reliability).replace(" (", "\n("), fontsize=9, color=INK, rotation=0, ha="right", va="center"
    )
    axes.locator_params(nbins=4)
    axes.tick_params(labelsize=8, color=INK, labelcolor=INK)


def _draw_legend(figure: Figure, labels: TargetMap, names: list[str], palette: np.ndarray) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(color=colour / 255, label=name) for name, colour in zip(names, palette, strict=True)]
    figure.legend(
        handles=patches, loc="lower center", ncols=min(len(patches), 9), fontsize=9, frameon=False, title=_label(labels)
    )
