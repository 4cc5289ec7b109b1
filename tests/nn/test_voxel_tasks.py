"""Tasks: the same generator gives the same ones, context and queries are apart, simulated responses are as stated."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainenc.core.types import DataError
from brainenc.nn.voxel_tasks import GaussianWeights, MeasuredSubject, MeasuredTargets, SimulatedTargets


def embeddings(n=300, size=8, seed=0):
    X = np.random.default_rng(seed).standard_normal((n, size)) + 0.3
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def measured(subject="01", n=300, t=7, seed=0, missing=0.0):
    rng = np.random.default_rng(seed)
    X = embeddings(n, seed=seed)
    # The response names its stimulus and target, so that a wrong pairing shows.
    Y = np.arange(n)[:, None] + 1000.0 * np.arange(t)
    Y[rng.random(Y.shape) < missing] = np.nan
    return MeasuredSubject(subject, [f"{subject}-{i}" for i in range(n)], X, Y)


SOURCES = {
    "simulated": lambda: SimulatedTargets(embeddings()),
    "measured": lambda: MeasuredTargets([measured("01"), measured("02", t=5, seed=1)]),
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_generator_decides_everything(name):
    source = SOURCES[name]()
    torch.manual_seed(1)
    one = source.draw(6, 20, 10, generator(5))
    torch.manual_seed(2)
    same, other = SOURCES[name]().draw(6, 20, 10, generator(5)), source.draw(6, 20, 10, generator(6))
    for field in ("X", "Y", "X_query", "Y_query", "rows", "query_rows"):
        assert torch.equal(getattr(one, field), getattr(same, field)), field
        assert not torch.equal(getattr(one, field), getattr(other, field)), field


@pytest.mark.parametrize("name", SOURCES)
def test_context_and_queries_are_apart(name):
    tasks = SOURCES[name]().draw(8, 100, 150, generator())
    assert tasks.X.shape == (8, 100, 8) and tasks.X_query.shape == (8, 150, 8)
    assert tasks.Y.shape == (8, 100) and tasks.Y_query.shape == (8, 150)
    for context, query in zip(tasks.rows.tolist(), tasks.query_rows.tolist(), strict=True):
        assert len({*context, *query}) == 250


def test_simulated_signal_and_noise_have_the_stated_size():
    """Of a single presentation: signal ncsnr^2 / (1 + ncsnr^2), noise the rest, over the number of repetitions."""
    X = embeddings(2000)
    tasks = SimulatedTargets(X, GaussianWeights(X, bias_sd=0.0), ncsnr=(0.5, 0.5), n_repetitions=4).draw(
        200, 1000, 1000, generator()
    )
    signal = 0.25 / 1.25
    assert float(tasks.Y_query.var(dim=1).mean()) == pytest.approx(signal, rel=0.03)
    assert float(tasks.Y.var(dim=1).mean()) == pytest.approx(signal + 0.8 / 4, rel=0.03)
    assert abs(float(tasks.Y.mean())) < 0.02


def test_simulated_queries_are_exactly_linear_and_weights_may_be_given():
    weights = torch.randn(4, 9, generator=generator(3))
    source = SimulatedTargets(embeddings(), lambda n, _: weights[:n], unit="as drawn")
    tasks = source.draw(4, 50, 40, generator())
    expected = torch.einsum("te,tse->ts", weights[:, :-1], tasks.X_query) + weights[:, -1:]
    torch.testing.assert_close(tasks.Y_query, expected)


def test_measured_pairs_stay_pairs_and_missing_ones_are_never_drawn():
    one, two = measured("01", missing=0.2), measured("02", t=5, seed=1, missing=0.2)
    tasks = MeasuredTargets([one, two]).draw(150, 60, 40, generator())
    seen = set()
    for t in range(150):
        matches = []
        for subject in (one, two):
            rows = torch.cat([tasks.rows[t], tasks.query_rows[t]]).numpy()
            y = torch.cat([tasks.Y[t], tasks.Y_query[t]]).numpy()
            target = int(y[0] // 1000)
            X = torch.cat([tasks.X[t], tasks.X_query[t]]).numpy()
            if np.array_equal(X, subject.X[rows]):
                np.testing.assert_array_equal(y, subject.Y[rows, target])
                matches.append((subject.subject, target))
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 12, "all targets of both subjects are drawn"


def test_too_many_stimuli_are_refused():
    for source in (make() for make in SOURCES.values()):
        with pytest.raises(DataError, match="ask for fewer"):
            source.draw(3, 200, 101, generator())
    with pytest.raises(DataError, match="finite responses"):
        MeasuredTargets([measured(missing=0.5)]).draw(5, 150, 100, generator())


def test_embeddings_that_are_not_of_unit_norm_are_refused():
    X = embeddings()
    X[17] *= 1.5
    for make in (
        SimulatedTargets,
        GaussianWeights,
        lambda X: MeasuredSubject("01", [str(i) for i in range(300)], X, X),
    ):
        with pytest.raises(DataError, match=r"1 of 300 embeddings are not of unit norm \(row 17 has 1.5\)"):
            make(X)


def test_subjects_with_wrong_rows_or_ids_are_refused():
    X = embeddings()
    with pytest.raises(DataError, match="align them by stimulus id"):
        MeasuredSubject("01", [str(i) for i in range(300)], X, np.zeros((299, 4)))
    with pytest.raises(DataError, match="repeated stimulus ids"):
        MeasuredSubject("01", ["a"] * 300, X, np.zeros((300, 4)))
    with pytest.raises(DataError, match="use one extractor"):
        MeasuredTargets([])
