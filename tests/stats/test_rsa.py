from __future__ import annotations

from itertools import permutations

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose
from scipy import stats
from scipy.spatial.distance import pdist, squareform

from brainenc.core.types import DataError
from brainenc.stats import dissimilarity, ranks, rsa

METRICS = dissimilarity.METRICS


# ---------------------------------------------------------------------------------------------- dissimilarity matrices
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", [(2, 3), (40, 7), (25, 3000)])
def test_rdm_equals_pdist_on_arrays_and_on_disk(metric, shape, tmp_path, tiny_chunks):
    values = np.random.default_rng(0).standard_normal(shape) * 3 + 2
    wanted = pdist(values, metric)
    kept = values.copy()
    assert_allclose(rsa.rdm(values, metric), wanted, rtol=1e-11, atol=1e-13)
    assert np.array_equal(values, kept)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("values", data=values, chunks=(shape[0], min(5, shape[1])))
        assert_allclose(rsa.rdm(data, metric), wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("metric", METRICS)
def test_rdm_survives_large_offsets_and_near_duplicates(metric):
    """Exact answers in extended precision; a Gram matrix of the raw values is the broken twin."""
    rng = np.random.default_rng(1)
    values = rng.standard_normal((12, 400)) + (1e4 if metric != "cosine" else 0.0)
    values[3] = values[2] + 1e-6 * rng.standard_normal(400)
    values[5] = values[4]

    def passes(distance, rtol=1e-6):
        wide = values.astype(np.longdouble)
        if metric == "correlation":
            wide = wide - wide.mean(axis=1, keepdims=True)
        if metric != "euclidean":
            wide = wide / np.sqrt((wide**2).sum(axis=1, keepdims=True))
        first, second = np.triu_indices(12, 1)
        square = ((wide[first] - wide[second]) ** 2).sum(axis=1)
        wanted = np.sqrt(square) if metric == "euclidean" else square / 2
        return bool((distance >= 0).all() and np.allclose(distance, wanted.astype(float), rtol=rtol, atol=1e-25))

    distance = rsa.rdm(values, metric)
    assert passes(distance)
    assert squareform(distance)[4, 5] == 0
    gram = values @ values.T
    if metric == "correlation":
        gram = gram - 400 * np.outer(values.mean(axis=1), values.mean(axis=1))
    square = np.diag(gram)
    with np.errstate(invalid="ignore"):
        if metric == "euclidean":
            naive = np.sqrt(square[:, None] + square - 2 * gram)
        else:
            naive = 1 - gram / np.sqrt(np.outer(square, square))
    assert not passes(naive[np.triu_indices(12, 1)])


@pytest.mark.parametrize("metric", METRICS)
def test_rdm_of_samples_that_all_coincide_is_zero(metric):
    values = np.tile(np.random.default_rng(0).standard_normal(50), (9, 1)) + (0 if metric == "cosine" else 7)
    assert np.array_equal(rsa.rdm(values, metric), np.zeros(36))


def test_rdm_refusals():
    values = np.random.default_rng(0).standard_normal((6, 5))
    hole, flat, zero = values.copy(), values.copy(), values.copy()
    hole[4, 2], flat[3], zero[1] = np.nan, 0.1, 0.0
    for metric in METRICS:
        with pytest.raises(DataError, match="row 4 of values holds NaN or infinity"):
            rsa.rdm(hole, metric)
    with pytest.raises(DataError, match=r"row 3 of values is constant \(1 such"):
        rsa.rdm(flat)
    with pytest.raises(DataError, match="row 1 of values is zero"):
        rsa.rdm(zero, "cosine")
    with pytest.raises(DataError, match="'correlation', 'euclidean', 'cosine'"):
        rsa.rdm(values, "cityblock")
    with pytest.raises(DataError, match="at least two rows"):
        rsa.rdm(values[:1])
    rsa.rdm(flat, "euclidean")
    with pytest.raises(DataError, match="average either half"):
        rsa.crossvalidated_rdm(values, values[:, :3])


def test_crossvalidated_distance_is_unbiased_and_the_plain_one_is_not(tiny_chunks):
    """Samples 0 to 9 do not differ, 10 to 19 do: planted squared distance 0 and 2 per feature."""
    rng = np.random.default_rng(3)
    truth = np.zeros((20, 4000))
    truth[10:] = rng.standard_normal((10, 4000))
    first, second = truth + rng.standard_normal((2, 20, 4000)) + 50
    crossed = squareform(rsa.crossvalidated_rdm(first, second))
    plain = squareform(rsa.rdm((first + second) / 2, "euclidean") ** 2 / 4000)

    def passes(square):
        same = square[:10, :10][np.triu_indices(10, 1)]
        other = square[10:, 10:][np.triu_indices(10, 1)]
        return abs(same.mean()) < 0.02 and abs(other.mean() - 2) < 0.05 and (same < 0).any()

    assert passes(crossed) and not passes(plain)
    i, j = 3, 12
    assert_allclose(crossed[i, j], (first[i] - first[j]) @ (second[i] - second[j]) / 4000, rtol=1e-9)
    assert_allclose(rsa.crossvalidated_rdm(first, first), pdist(first, "sqeuclidean") / 4000, rtol=1e-9)


# --------------------------------------------------------------------------------------------------------------- ranks
N = 200_000


@pytest.fixture
def small_sorts(monkeypatch):
    """Make the histogram take over early, with a first grid to match."""
    monkeypatch.setattr(ranks, "SMALL", 100)
    monkeypatch.setattr(ranks, "N_SAMPLED", 20_000)
    monkeypatch.setattr(ranks, "N_COARSE", 512)
    monkeypatch.setattr(ranks, "BLOCK", 7000)


def _vectors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(N)
    return {
        "normal": x,
        "correlation distances": (1 - np.tanh(x / 10)).astype(np.float32),
        "heavy tails": rng.standard_cauchy(N),
        "heavier tails": np.sign(x) * np.exp(20 * np.abs(x)),
        "ties": np.round(x, 1),
        "binary": (x > 0.3).astype(float),
        "half tied": np.maximum(x, 0),
        "integers": rng.integers(-5, 300, N),
        "one outlier": np.append(x[1:], 1e300),
        "hidden scale": np.where(x > 0, 1 + 1e-13 * x, x),
        "zeros of both signs": np.where(x > 0, 0.0, -0.0) + np.where(np.abs(x) > 1, x, 0.0),
        "sorted": np.sort(x),
        "subnormal": x * 1e-310,
    }


@pytest.mark.parametrize("name", list(_vectors()))
@pytest.mark.parametrize("tolerance", [1e-4, 1e-5])
def test_histogram_ranks_are_as_close_as_their_certificate_says(name, tolerance, small_sorts):
    values, other = _vectors()[name], np.random.default_rng(9).standard_normal(N) + _vectors()["normal"]
    mine, true = ranks.rank(values, tolerance), stats.rankdata(values)
    assert mine.error <= tolerance
    unit = (true - true.mean()) / np.linalg.norm(true - true.mean())
    centred = mine[slice(None)]
    assert np.linalg.norm(centred / np.sqrt(mine.spread) - unit) <= mine.error + 1e-12
    assert_allclose(np.sum(centred**2), mine.spread, rtol=1e-10)
    assert abs(centred.sum()) < 1e-6 * np.abs(centred).sum()
    # ties share a rank, and order is kept: a projection on functions of a monotone grid
    order = np.argsort(values, kind="stable")
    step = np.diff(centred[order])
    assert (step >= 0).all() and (step[np.diff(np.asarray(values, float)[order]) == 0] == 0).all()
    assert abs(ranks.spearman(values, other, 2 * tolerance) - stats.spearmanr(values, other).statistic) <= 2 * tolerance


def test_default_spearman_equals_scipy_to_a_millionth():
    """Full size, nothing patched: more values than are sorted, some with ties."""
    rng = np.random.default_rng(2)
    a = rng.standard_cauchy(2_600_000)
    b = np.round(a + rng.standard_cauchy(a.size), 2)
    mine = ranks.rank(a, ranks.TOLERANCE / 2)
    assert mine.table.size > ranks.SMALL and 0 < mine.error <= ranks.TOLERANCE / 2
    true = np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1]
    assert abs(ranks.spearman(a, b) - true) <= ranks.TOLERANCE


def test_certificate_is_needed(small_sorts, monkeypatch):
    """Broken twin: 200 equal bins between the extremes, without certificate or repair, miss by far in heavy tails."""
    values = _vectors()["heavy tails"]
    other = values + np.random.default_rng(1).standard_normal(N)
    bins = np.minimum(((values - values.min()) / np.ptp(values) * 200).astype(int), 199)
    true = stats.spearmanr(values, other).statistic

    def passes(rho):
        return abs(rho - true) <= 2e-5

    assert passes(ranks.spearman(values, other, 2e-5))
    assert not passes(stats.spearmanr(bins, other).statistic)


def test_crowded_bins_are_resolved_and_others_are_not(small_sorts, monkeypatch):
    """A grid that is far too coarse in one place must be repaired there and only there."""
    x = np.random.default_rng(0).standard_normal(N)
    values = np.where(np.arange(N) % 10 == 0, 1 + 1e-15 * np.round(4 * x), x)
    mine = ranks.rank(values, 1e-5)
    assert mine.error <= 1e-5
    assert np.abs(ranks.midranks(values, 1e-5) - stats.rankdata(values))[np.arange(N) % 10 == 0].max() < 1
    assert mine.table.size > ranks._bins_needed(N, 1e-5) + 1


@given(hnp.arrays(np.float64, st.integers(2, 80), elements=st.floats(-1e6, 1e6) | st.integers(-2, 2).map(float)))
@settings(max_examples=100, deadline=None)
def test_midranks_of_few_values_are_exact(values):
    assert np.array_equal(ranks.midranks(values), stats.rankdata(values))


def test_constant_vectors_have_no_correlation(small_sorts):
    constant, other = np.full(N, 0.1), np.arange(N, dtype=float)
    assert np.isnan(ranks.spearman(constant, other, 2e-5)) and np.isnan(ranks.spearman(other, constant, 2e-5))
    assert_allclose(ranks.midranks(constant, 1e-5), (N + 1) / 2)
    assert ranks.spearman(other, other**3, 2e-5) == pytest.approx(1, abs=1e-9)


def test_rank_refusals():
    with pytest.raises(DataError, match="1 NaN or infinite values of 3"):
        ranks.midranks([1.0, np.nan, 2.0])
    with pytest.raises(DataError, match="pass a vector"):
        ranks.midranks(np.zeros((2, 2)))
    with pytest.raises(DataError, match="a has 3 values but b has 2"):
        ranks.spearman([1, 2, 3], [1, 2])


# ----------------------------------------------------------------------------------------------------------------- RSA
def _two_rdms(seed: int, shared: float, n_samples: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n_samples, 30))
    first, second = (shared * common + (1 - shared) * rng.standard_normal((n_samples, 30)) for _ in range(2))
    return rsa.rdm(first), rsa.rdm(second)


def test_rsa_equals_scipy():
    a, b = _two_rdms(0, 0.5)
    b = np.round(b, 1)
    wanted = {
        "spearman": stats.spearmanr(a, b).statistic,
        "pearson": stats.pearsonr(a, b).statistic,
        "kendall": stats.kendalltau(a, b).statistic,
    }
    for method, value in wanted.items():
        assert rsa.rsa(a, b, method) == pytest.approx(value, abs=1e-12)
        assert np.isnan(rsa.rsa(a, np.ones_like(a), method))


@pytest.mark.parametrize("method", rsa.METHODS)
def test_permutation_equals_a_loop_over_whole_matrices(method):
    a, b = _two_rdms(1, 0.3, n_samples=9)
    test = rsa.permutation_test(a, b, 25, seed=4, method=method)
    generator, upper = np.random.default_rng(4), np.triu_indices(9, 1)
    null = []
    for _ in range(25):
        order = generator.permutation(9)
        null.append(rsa.rsa(a, squareform(b)[order][:, order][upper], method))
    assert_allclose(test.null, null, atol=1e-6)
    assert test.score == pytest.approx(rsa.rsa(a, b, method))
    assert test.p == (1 + np.sum(np.array(null) >= test.score - 1e-7)) / 26
    assert np.array_equal(rsa.permutation_test(a, b, 25, seed=4, method=method).null, test.null)


def test_permutation_of_few_samples_approaches_the_exact_p_value():
    a, b = _two_rdms(2, 0.5, n_samples=5)
    a, upper = np.round(a, 1), np.triu_indices(5, 1)
    orders = [list(order) for order in permutations(range(5))]
    null = np.array([rsa.rsa(a, squareform(b)[o][:, o][upper]) for o in orders])
    exact = np.mean(null >= rsa.rsa(a, b) - 1e-9)
    assert rsa.permutation_test(a, b, 4000, seed=0).p == pytest.approx(exact, abs=0.03)


def _mantel_and_pairs(n_seeds: int = 150) -> tuple[list[float], list[float]]:
    """P-values under the null of our test and of one that permutes pairs. Some samples are outliers in either RDM."""
    ours, pairs = [], []
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        a, b = (rsa.rdm(rng.standard_normal((16, 10)) * rng.gamma(1.0, 1.0, (16, 1)), "euclidean") for _ in range(2))
        ours.append(rsa.permutation_test(a, b, 99, seed=seed).p)
        pairs.append(float(stats.spearmanr(a, b, alternative="greater").pvalue))
    return ours, pairs


def test_permuting_samples_keeps_the_level_and_treating_pairs_as_independent_does_not():
    ours, pairs = _mantel_and_pairs()

    def passes(p):
        return np.mean(np.array(p) <= 0.05) <= 0.10

    assert passes(ours) and not passes(pairs)
    assert stats.kstest(ours, "uniform").pvalue > 0.01


def test_permutation_finds_shared_geometry():
    assert rsa.permutation_test(*_two_rdms(0, 0.6), 199).p == pytest.approx(1 / 200)
    nothing = rsa.permutation_test(_two_rdms(0, 0.6)[0], np.ones(190), 5)
    assert np.isnan(nothing.p) and np.isnan(nothing.score)


@pytest.mark.parametrize("method", rsa.METHODS)
def test_noise_ceiling_brackets_the_planted_truth(method):
    rng = np.random.default_rng(5)
    truth = rng.standard_normal((18, 25))
    rdms = [rsa.rdm(truth + 1.2 * rng.standard_normal(truth.shape)) for _ in range(8)]
    ceiling = rsa.noise_ceiling(rdms, method)
    assert ceiling.lower < ceiling.upper < 1 and ceiling.n_subjects == 8

    def mean_score(model):
        return np.mean([rsa.rsa(model, x, method) for x in rdms])

    assert ceiling.lower - 0.05 < mean_score(rsa.rdm(truth)) < ceiling.upper
    assert mean_score(rng.random(153)) < ceiling.lower  # a model that knows nothing
    one = rsa.noise_ceiling([rdms[0]] * 3, method)
    assert one.lower == pytest.approx(1) and one.upper == pytest.approx(1)


def test_no_model_exceeds_the_upper_ceiling():
    """Ties may help a model that must please several subjects: the bound must hold for those too."""
    a = np.arange(10.0)
    b = a.copy()
    b[[4, 5]] = b[[5, 4]]
    tied = a.copy()
    tied[[4, 5]] = 4.5

    def passes(bound):
        return np.mean([rsa.rsa(tied, x) for x in (a, b)]) <= bound + 1e-12

    assert passes(rsa.noise_ceiling([a, b]).upper)
    assert not passes(np.mean([rsa.rsa(a, x) for x in (a, b)]))  # broken twin: the best ranking without ties


def test_lower_ceiling_is_leave_one_out():
    rdms = [_two_rdms(seed, 0.5)[0] for seed in range(4)]
    z = [(x - x.mean()) / x.std() for x in rdms]
    wanted = [stats.pearsonr(rdms[i], np.mean([z[j] for j in range(4) if j != i], axis=0))[0] for i in range(4)]
    assert rsa.noise_ceiling(rdms, "pearson").lower == pytest.approx(np.mean(wanted))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: rsa.rsa(x, x[:-1]), "pairs but must have the same"),
        (lambda x: rsa.rsa(x[:-1], x[:-1]), "no n"),
        (lambda x: rsa.rsa(x, x, "cosine"), "'spearman', 'pearson', 'kendall'"),
        (lambda x: rsa.rsa(x, np.where(x > 0.9, np.nan, x)), "RDM 1 holds"),
        (lambda x: rsa.permutation_test(x, x, 0), "at least 1"),
        (lambda x: rsa.noise_ceiling([x]), "two or more"),
        (lambda x: rsa.noise_ceiling([x, np.ones_like(x)]), "RDM 1 is constant"),
    ],
)
def test_rsa_refusals(call, text):
    with pytest.raises(DataError, match=text):
        call(_two_rdms(0, 0.5)[0])
