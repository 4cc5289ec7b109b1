"""Charts of the report as SVG text: no pyplot state, one palette, labels that can be read."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

# Okabe and Ito's palette: distinguishable by most colour-blind readers.
PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#F0E442"]


def region_chart(table: pd.DataFrame, models: Sequence[str]) -> str:
    """Correlation by region and model: dots are subjects with their intervals, bars the mean, ticks the ceiling.

    ``table`` has columns subject, model, region, correlation, lower, upper, ceiling.
    """
    regions = [r for r in dict.fromkeys(table["region"]) if r != "all targets"]
    if not regions:
        return ""
    figure, axes = _axes(min(13.0, max(7.0, 0.18 * len(regions) * len(models) + 2.5)), 4.2)
    step = 0.8 / len(models)
    for m, model in enumerate(models):
        colour = PALETTE[m % len(PALETTE)]
        for r, region in enumerate(regions):
            rows = table[(table["model"] == model) & (table["region"] == region)]
            x = r - 0.4 + step * (m + 0.5)
            mean = rows["correlation"].mean()
            axes.bar(x, mean, step * 0.92, color=colour, alpha=0.45, label=model if r == 0 else None)
            dots = x + np.linspace(-0.25, 0.25, len(rows)) * step if len(rows) > 1 else [x]
            for at, (_, row) in zip(dots, rows.iterrows(), strict=True):
                axes.plot([at, at], [row["lower"], row["upper"]], color=colour, linewidth=0.9)
                axes.plot(at, row["correlation"], "o", color=colour, markersize=2.2)
    for r, region in enumerate(regions):
        best = table.loc[table["region"] == region, "ceiling"].mean()
        if np.isfinite(best):
            label = "noise ceiling" if r == 0 else None
            axes.plot([r - 0.42, r + 0.42], [best, best], color="#222222", linewidth=1.4, label=label)
    axes.set_xticks(range(len(regions)), regions, rotation=40, ha="right")
    axes.set_xlim(-0.6, len(regions) - 0.4)
    axes.axhline(0, color="#888888", linewidth=0.6)
    axes.set_ylabel("correlation (Pearson r)")
    axes.legend(frameon=False, fontsize=8, ncols=min(4, len(models) + 1), loc="lower left", bbox_to_anchor=(0, 1.0))
    return _svg(figure)


def partition_chart(table: pd.DataFrame, bands: Sequence[str]) -> str:
    """Unique r2 of each band by region, mean over subjects; ``table`` has columns region, band, unique."""
    regions = list(dict.fromkeys(table["region"]))
    if not regions:
        return ""
    figure, axes = _axes(max(6.0, 0.36 * len(regions) + 2.0), 3.0)
    step = 0.8 / len(bands)
    for b, band in enumerate(bands):
        values = [table[(table["band"] == band) & (table["region"] == r)]["unique"].mean() for r in regions]
        at = np.arange(len(regions)) - 0.4 + step * (b + 0.5)
        axes.bar(at, values, step * 0.92, color=PALETTE[b % len(PALETTE)], label=band)
    axes.axhline(0, color="#888888", linewidth=0.6)
    axes.set_xticks(range(len(regions)), regions, rotation=40, ha="right")
    axes.set_ylabel("unique r2 (fraction of variance)")
    axes.legend(frameon=False, fontsize=8)
    return _svg(figure)


def alpha_chart(histograms: dict[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """Share of targets per penalty for each model: (alphas, shares)."""
    if not histograms:
        return ""
    figure, axes = _axes(7.0, 2.6)
    for m, (model, (alphas, shares)) in enumerate(histograms.items()):
        axes.plot(alphas, shares, "o-", markersize=3, linewidth=1.1, color=PALETTE[m % len(PALETTE)], label=model)
    axes.set_xscale("log")
    axes.set_xlabel("chosen penalty alpha")
    axes.set_ylabel("share of targets")
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return _svg(figure)


def training_chart(courses: dict[str, Any]) -> str:
    """Validation correlation after each pass over the training samples, for each trained model."""
    if not courses:
        return ""
    figure, axes = _axes(7.0, 2.6)
    for m, (model, course) in enumerate(courses.items()):
        values, colour = course["validation_correlation"].to_numpy(), PALETTE[m % len(PALETTE)]
        axes.plot(np.arange(1, len(values) + 1), values, "o-", markersize=3, linewidth=1.1, color=colour, label=model)
        best = int(np.argmax(values))
        axes.plot(best + 1, values[best], "o", markersize=7, markerfacecolor="none", color=colour)
    axes.set_xlabel("passes over the training samples")
    axes.set_ylabel("validation correlation")
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return _svg(figure)


def _axes(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    return figure, axes


def _svg(figure: Any) -> str:
    """The figure as SVG without its XML head, text kept as text, equal for equal input."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "brainenc", "font.family": "sans-serif"}):
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
