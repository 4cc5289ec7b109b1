"""The companions of the ridge engine against the plain way to the same numbers.

    python benchmarks/companions/run.py --out benchmarks/companions/results.md
    python benchmarks/companions/run.py --stimuli 300 --pairs 50000 --targets 200 --repeats 2    # a quick look, printed

Either side of a pair runs in turn (A B A B ...) after one warm-up on a small slice, data made beforehand. The table
gives the median and the minimum of each side and the largest difference between the two results. A single-precision
matrix product is timed before and after: a machine that drifted by more than 15 % gave no comparison, and the script
says so.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from scipy.spatial.distance import pdist
from sklearn.linear_model import Ridge

from brainenc.encoders.null import permuted_orders, refit_p_values
from brainenc.stats import ceilings, ranks, rsa
from brainenc.stats.metrics import correlation

DRIFT = 0.15


@dataclass(frozen=True)
class Pair:
    """Two ways to one result."""

    name: str
    size: str
    other_name: str
    ours: Callable[[], Any]
    other: Callable[[], Any]


def ceiling_pair(n_stimuli: int, n_targets: int, rng: np.random.Generator) -> Pair:
    """Noise and signal variance: one pass over chunks, against one target after the other."""
    values = rng.standard_normal((3 * n_stimuli, n_targets)).astype(np.float32)
    ids = np.tile(np.arange(n_stimuli), 3)
    rows = np.argsort(ids, kind="stable").reshape(n_stimuli, 3)

    def loop() -> np.ndarray:
        result = np.empty(n_targets)
        for target in range(n_targets):
            y = values[:, target].astype(np.float64)[rows]
            noise = y.var(axis=1, ddof=1).mean()
            signal = y.mean(axis=1).var(ddof=1) - noise / 3
            result[target] = np.sqrt(max(signal, 0.0) / noise)
        return result

    size = f"3 x {n_stimuli} samples, {n_targets} targets"
    return Pair("noise ceiling", size, "loop over targets", lambda: ceilings.noise_ceiling(values, ids).ncsnr, loop)


def rdm_pairs(n_stimuli: int, n_features: int, rng: np.random.Generator) -> Iterator[Pair]:
    """Dissimilarities of all pairs of samples, against scipy."""
    values = rng.standard_normal((n_stimuli, n_features))
    for metric in ("correlation", "euclidean"):
        yield Pair(
            f"rdm, {metric}",
            f"{n_stimuli} samples, {n_features} features",
            "scipy pdist",
            lambda metric=metric: rsa.rdm(values, metric),
            lambda metric=metric: pdist(values, metric),
        )


def rank_pairs(n_pairs: int, rng: np.random.Generator) -> Iterator[Pair]:
    """Midranks and Spearman's correlation of two long vectors shaped like RDMs, against scipy."""
    shared = rng.standard_normal(n_pairs)
    a, b = (1 - np.tanh(0.1 * (shared + rng.standard_normal(n_pairs))) for _ in range(2))
    size = f"{n_pairs} pairs"

    def scipy_on_ranks() -> float:
        x, y = stats.rankdata(a), stats.rankdata(b)
        return float(np.corrcoef(x, y)[0, 1])

    yield Pair("Spearman", size, "scipy spearmanr", lambda: ranks.spearman(a, b), lambda: _rho(a, b))
    yield Pair("Spearman", size, "scipy rankdata, corrcoef", lambda: ranks.spearman(a, b), scipy_on_ranks)
    yield Pair(
        "midranks / n", size, "scipy rankdata / n", lambda: ranks.midranks(a) / n_pairs, lambda: _share(a, n_pairs)
    )


def _rho(a: np.ndarray, b: np.ndarray) -> float:
    return float(stats.spearmanr(a, b).statistic)


def _share(a: np.ndarray, n: int) -> np.ndarray:
    return np.asarray(stats.rankdata(a) / n)


def refit_pair(
    n_train: int, n_features: int, n_targets: int, n_permutations: int, rng: np.random.Generator, n_test: int = 200
) -> Pair:
    """P-values by refitting, against scikit-learn's ridge fitted again for every permutation and penalty."""
    X = rng.standard_normal((n_train + n_test, n_features)).astype(np.float32)
    W = 0.02 * rng.standard_normal((n_features, n_targets))
    Y = (X @ W + rng.standard_normal((len(X), n_targets))).astype(np.float32)
    alpha = np.logspace(0, 4, 10)[rng.integers(10, size=n_targets)]
    orders = permuted_orders(n_train, n_permutations, 0)
    groups = [(value, np.flatnonzero(alpha == value)) for value in np.unique(alpha)]

    def score(order: np.ndarray) -> np.ndarray:
        predicted = np.empty((n_test, n_targets), dtype=np.float32)
        responses = Y[:n_train][order]
        for value, part in groups:
            fitted = Ridge(alpha=value).fit(X[:n_train], responses[:, part])
            predicted[:, part] = fitted.predict(X[n_train:]).reshape(n_test, -1)
        return correlation(Y[n_train:], predicted)

    def loop() -> np.ndarray:
        observed = score(np.arange(n_train))
        return np.asarray((1 + sum(score(order) >= observed for order in orders)) / (1 + n_permutations))

    def ours() -> np.ndarray:
        return refit_p_values(X[:n_train], Y[:n_train], X[n_train:], Y[n_train:], alpha, n_permutations, 0)

    size = f"{n_train} + {n_test} samples, {n_features} features, {n_targets} targets, {n_permutations} permutations"
    return Pair("refit permutations", size, "scikit-learn Ridge, refitted", ours, loop)


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of a call and the seconds it took."""
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def measure(pair: Pair, n_repeats: int) -> str:
    """Return one row of the table: both sides in turn, and the largest difference of their results."""
    ours, other, difference = [], [], 0.0
    for _ in range(n_repeats):
        first, taken = timed(pair.ours)
        ours.append(taken)
        second, taken = timed(pair.other)
        other.append(taken)
        difference = max(difference, float(np.max(np.abs(np.asarray(first) - np.asarray(second)))))
    times = [f"{np.median(s):.3f} ({min(s):.3f})" for s in (ours, other)]
    ratio = f"{np.median(other) / np.median(ours):.2g}"
    row = f"| {pair.name} | {pair.size} | {times[0]} | {pair.other_name} | {times[1]} | {ratio} | {difference:.1e} |"
    print(row, flush=True)
    return row


def sgemm_speed() -> float:
    """Return single-precision GFLOP/s of a square product, the best of five."""
    a = np.ones((1500, 1500), dtype=np.float32)
    return 2 * 1500**3 / min(timed(lambda: a @ a)[1] for _ in range(5)) / 1e9


def machine() -> str:
    """Return processor, cores this process may use, and versions."""
    names = [platform.processor() or platform.machine()]
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")] or names
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {version(name)}" for name in ("brainenc", "numpy", "scipy", "scikit-learn"))
    return f"{names[0]}, {cores} cores; Python {platform.python_version()}, {versions}"


def warm_up() -> None:
    """Run every pair once at a tiny size, so that imports and thread pools are not measured."""
    rng = np.random.default_rng(0)
    for pair in pairs(argparse.Namespace(stimuli=40, features=20, pairs=2000, targets=20, permutations=2), rng):
        pair.ours(), pair.other()


def pairs(sizes: argparse.Namespace, rng: np.random.Generator) -> Iterator[Pair]:
    """Yield the comparisons one by one, so that only one set of data is held."""
    yield ceiling_pair(sizes.stimuli, 10 * sizes.targets, rng)
    yield from rdm_pairs(sizes.stimuli, sizes.features, rng)
    yield from rank_pairs(sizes.pairs, rng)
    yield refit_pair(sizes.stimuli, sizes.features // 4, sizes.targets, sizes.permutations, rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="Markdown file to write; printed only if not given")
    parser.add_argument("--stimuli", type=int, default=1000, help="samples of ceilings, RDMs and training")
    parser.add_argument("--features", type=int, default=1000, help="features of RDMs; a quarter of them are fitted")
    parser.add_argument("--pairs", type=int, default=8_000_000, help="length of the vectors that are ranked")
    parser.add_argument(
        "--targets", type=int, default=1000, help="targets that are refitted; ten times more get ceilings"
    )
    parser.add_argument("--permutations", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    sizes = parser.parse_args()
    warm_up()
    before = sgemm_speed()
    rows = [measure(pair, sizes.repeats) for pair in pairs(sizes, np.random.default_rng(sizes.seed))]
    after = sgemm_speed()
    drift = "" if abs(after - before) <= DRIFT * before else ": THE MACHINE DRIFTED, measure again"
    text = [
        "# Companions of the ridge engine",
        "",
        f"{date.today().isoformat()}. {machine()}. Single-precision product {before:.0f} GFLOP/s before, "
        f"{after:.0f} after{drift}. Seconds are the median (minimum) of "
        f"{sizes.repeats} runs of either side in turn; ratio of medians; difference of the results. Made by "
        "`benchmarks/companions/run.py`.",
        "",
        "| what | size | brainenc, s | the plain way | s | ratio | largest difference |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]
    if sizes.out:
        sizes.out.parent.mkdir(parents=True, exist_ok=True)
        sizes.out.write_text("\n".join(text), encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
