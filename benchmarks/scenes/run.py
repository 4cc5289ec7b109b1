"""How fast scenes are made, and how little colour and layout alone tell of what they show; writes ``results.md``.

python benchmarks/scenes/run.py            # all
python benchmarks/scenes/run.py balance    # only the classifiers
python benchmarks/scenes/run.py speed      # only the speed, on an otherwise idle machine
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainenc.world.clips import optical_flow, paint_clip, plan_clip
from brainenc.world.scenes import CATEGORIES, captions, paint_masks, paint_scene, plan_scene

THINGS = tuple(category for category in CATEGORIES if category != "place")
N_PER_CATEGORY = 600
FIRST_SEED = 300_000
LIMIT = 0.45


def poor_features(images: np.ndarray) -> dict[str, np.ndarray]:
    """Features that know colour and layout but no form: images (n, 64, 64, 3) -> name -> (n, n_features)."""
    pixels = images.reshape(len(images), -1, 3).astype(np.float32)
    means = pixels.mean(axis=1)
    thumbnails = images.reshape(len(images), 4, 16, 4, 16, 3).mean(axis=(2, 4), dtype=np.float32)
    return {
        "pixel means (3)": means,
        "pixel means and standard deviations (6)": np.hstack([means, pixels.std(axis=1)]),
        "4 x 4 thumbnails (48)": thumbnails.reshape(len(images), -1),
    }


def balance() -> tuple[list[str], dict[str, float]]:
    """Lines of the report, and the share of right categories by features."""
    labels = np.tile(np.arange(len(THINGS)), N_PER_CATEGORY)
    images = np.stack([paint_scene(plan_scene(FIRST_SEED + i, [THINGS[k]])).image for i, k in enumerate(labels)])
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    lines = [f"{len(labels):,} single-content scenes, 5 folds, logistic regression; chance 16.7 %.", ""]
    lines += ["| features | right category | " + " | ".join(THINGS) + " |", "|---|---|" + "---|" * len(THINGS)]
    shares = {}
    for name, X in poor_features(images).items():
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
        guess = cross_val_predict(model, X, labels, cv=folds)
        shares[name] = float((guess == labels).mean())
        recall = confusion_matrix(labels, guess, normalize="true").diagonal()
        lines.append(f"| {name} | {shares[name]:.1%} | " + " | ".join(f"{r:.0%}" for r in recall) + " |")
    return [*lines, "", f"Limit: {LIMIT:.0%}. Columns: right among the scenes of that category."], shares


def rate(make, n: int) -> float:
    """Calls per second of processor time of one process: the best of three runs of n calls."""
    best = 0.0
    for _ in range(3):
        start = time.process_time()
        for seed in range(n):
            make(FIRST_SEED + seed)
        best = max(best, n / (time.process_time() - start))
    return best


def speed() -> list[str]:
    """Scenes per second of processor time at several sizes."""

    def scene(seed: int, size: int) -> None:
        plan = plan_scene(seed)
        paint_scene(plan, size)
        captions(plan, seed)

    def clip(seed: int) -> None:
        plan = plan_clip(seed, seconds=1, fps=8)
        paint_clip(plan, 64)
        optical_flow(plan, 64)

    lines = ["| what | per second of processor time |", "|---|---|"]
    for size in (32, 64, 128, 256):
        n = 600 if size <= 64 else 150
        lines.append(f"| scenes of {size} px with captions | {rate(lambda s, size=size: scene(s, size), n):,.0f} |")
    lines.append(f"| label maps of 64 px | {rate(lambda s: paint_masks(plan_scene(s), 64), 400):,.0f} |")
    lines.append(f"| clips of 8 frames, 64 px, with flow | {rate(clip, 20):,.1f} |")
    return lines


def main(parts: list[str]) -> None:
    """Measure the parts and write the report."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    report = ["# Scenes: speed and balance", ""]
    report += [f"`python benchmarks/scenes/run.py`, commit {commit}, {platform.processor() or platform.machine()},", ""]
    report[-2] += f" {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}."
    if "balance" in parts:
        lines, _ = balance()
        report += ["## What colour and layout tell", "", *lines, ""]
    if "speed" in parts:
        report += ["## Speed", "", *speed(), ""]
    print("\n".join(report))
    if set(parts) == {"balance", "speed"}:
        (Path(__file__).parent / "results.md").write_text("\n".join(report), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:] or ["balance", "speed"])
