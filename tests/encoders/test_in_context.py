"""The in-context encoder: an estimator like any other, and what it says beside predictions. Networks are untrained
here; what a trained one reaches is in test_in_context_training.py."""

from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest
import torch

from brainenc.core.protocols import Estimator
from brainenc.core.storage import load_arrays, save_arrays
from brainenc.core.types import DataError
from brainenc.encoders.in_context import InContext, ResponseScaleWarning, unit_rows
from brainenc.encoders.in_context_curves import context_curve, disjoint_contexts, fit_ridge
from brainenc.encoders.in_context_readings import (
    attention_to_context,
    group_average,
    principal_colours,
    text_selectivity,
    umap_colours,
)
from brainenc.nn.hypernetwork import HyperNetwork, HyperShape
from brainenc.nn.hypernetwork_files import save_network
from brainenc.stats.metrics import correlation

SIZE = 12


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return HyperNetwork(HyperShape(SIZE, width=16, n_layers=2, n_heads=2, hidden=24)).eval()


def encoder(**arguments):
    return InContext.from_network(network(), device="cpu", **arguments)


def data(n=40, t=7, seed=0, missing=False):
    rng = np.random.default_rng(seed)
    X = unit_rows(rng.standard_normal((n, SIZE)))
    Y = rng.standard_normal((n, t)).astype(np.float32)
    if missing:
        Y[rng.random(Y.shape) < 0.2] = np.nan
        Y[:, 2] = np.nan
    return X, Y


# ----------------------------------------------------------------------------------------------------------- estimator
@pytest.mark.parametrize("missing", [False, True])
def test_it_is_an_estimator(missing, tmp_path):
    X, Y = data(missing=missing)
    before = X.copy(), Y.copy()
    fitted = encoder()
    parameters = [parameter.clone() for parameter in fitted.network().parameters()]
    assert isinstance(fitted, Estimator) and fitted.fit(X, Y) is fitted
    prediction = fitted.predict(X)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(Y, before[1])
    assert prediction.shape == Y.shape and prediction.dtype == np.float32
    np.testing.assert_allclose(prediction, X @ fitted.coef_ + fitted.intercept_, atol=1e-6)
    undefined = np.isnan(Y).all(axis=0)
    np.testing.assert_array_equal(np.isnan(fitted.score(X, np.nan_to_num(Y) + np.eye(40, 7))), undefined)
    np.testing.assert_array_equal(np.isnan(fitted.intercept_), undefined)
    np.testing.assert_array_equal(fitted.n_context_, np.isfinite(Y).sum(axis=0))
    save_arrays(tmp_path / "model.safetensors", fitted.state())
    loaded = InContext.from_state(fitted.config(), load_arrays(tmp_path / "model.safetensors"))
    np.testing.assert_array_equal(loaded.predict(X), prediction)
    assert loaded.config() == fitted.config() == InContext(**fitted.config()).config()
    np.testing.assert_array_equal(encoder().fit(X, Y).predict(X), prediction)
    for parameter, copy in zip(fitted.network().parameters(), parameters, strict=True):
        assert torch.equal(parameter, copy) and parameter.grad is None, "nothing is trained"


def test_blocks_of_targets_and_responses_on_disk_give_the_same(tmp_path):
    X, Y = data(missing=True)
    whole = encoder().fit(X, Y)
    with h5py.File(tmp_path / "responses.h5", "w") as file:
        blocks = encoder(n_targets_batch=1).fit(X, file.create_dataset("values", data=Y))
    np.testing.assert_allclose(blocks.coef_, whole.coef_, atol=1e-5)
    np.testing.assert_array_equal(whole.predict(X, targets=slice(3, 5)), whole.predict(X)[:, 3:5])


def test_the_order_of_the_context_changes_nothing_and_torn_pairs_do():
    X, Y = data()
    order = np.random.default_rng(1).permutation(len(X))
    fitted = encoder().fit(X, Y)
    np.testing.assert_allclose(encoder().fit(X[order], Y[order]).coef_, fitted.coef_, atol=1e-5)
    assert np.abs(encoder().fit(X[order], Y).coef_ - fitted.coef_).max() > 1e-3


def test_missing_responses_are_as_if_never_measured():
    X, Y = data(missing=True)
    fitted = encoder().fit(X, Y)
    for target in (0, 5):
        kept = np.isfinite(Y[:, target])
        alone = encoder().fit(X[kept], Y[kept, target : target + 1])
        np.testing.assert_allclose(fitted.coef_[:, target], alone.coef_[:, 0], atol=1e-5)
        np.testing.assert_allclose(fitted.intercept_[target], alone.intercept_[0], atol=1e-5)


@pytest.mark.parametrize("n_context", [1, 2, 37, 600])
def test_any_number_of_context_stimuli_will_do(n_context):
    X, Y = data(n_context)
    assert np.isfinite(encoder().fit(X, Y).predict(X)).all()


def test_a_drawn_context_follows_from_the_seed():
    X, Y = data()
    one, same, other = (encoder(n_context=9, seed=seed).fit(X, Y) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.context_rows_, same.context_rows_)
    assert len(np.unique(one.context_rows_)) == 9 and not np.array_equal(one.context_rows_, other.context_rows_)
    np.testing.assert_array_equal(one.coef_, encoder().fit(X[one.context_rows_], Y[one.context_rows_]).coef_)


def test_bfloat16_is_near_float32():
    X, Y = data()
    exact, rough = encoder().fit(X, Y), encoder(precision="bfloat16").fit(X, Y)
    assert rough.coef_.dtype == np.float32 and 0 < np.abs(rough.coef_ - exact.coef_).max() < 0.05


def test_a_checkpoint_is_the_network_it_was(tmp_path):
    X, Y = data()
    save_network(tmp_path / "small.safetensors", network())
    expected = encoder().fit(X, Y).coef_
    loaded = InContext.from_checkpoint(tmp_path / "small.safetensors", device="cpu")
    np.testing.assert_array_equal(loaded.fit(X, Y).coef_, expected)
    np.testing.assert_array_equal(InContext(**loaded.config()).fit(X, Y).coef_, expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X, Y: (X * 1.01, Y), "40 of 40 embeddings are not of unit norm"),
        (lambda X, Y: (unit_rows(X[:, :8]), Y), "8 features but the network reads 12"),
        (lambda X, Y: (X, Y[:-1]), "align its rows"),
        (lambda X, Y: (np.where(X > 0.5, np.nan, X), Y), "not of unit norm"),
    ],
)
def test_contexts_that_do_not_fit_are_refused(change, words):
    with pytest.raises(DataError, match=words):
        encoder().fit(*change(*data()))


def test_other_misuse_is_refused():
    X, Y = data()
    with pytest.raises(DataError, match="has no network"):
        InContext().fit(X, Y)
    with pytest.raises(DataError, match="not fitted"):
        encoder().predict(X)
    with pytest.raises(DataError, match="n_context is 41 but X has 40"):
        encoder(n_context=41).fit(X, Y)
    with pytest.raises(DataError, match="not of unit norm"):
        encoder().fit(X, Y).predict(2 * X)
    with pytest.raises(DataError, match="lacks coef"):
        InContext.from_state({}, {"intercept": Y[0]})
    for arguments in ({"precision": "float16"}, {"n_context": 0}, {"seed": -1}, {"n_targets_batch": 1.5}):
        with pytest.raises(DataError, match=next(iter(arguments))):
            InContext(**arguments)
    with pytest.raises(DataError, match="1 of 2 embeddings are zero"):
        unit_rows(np.eye(2) * [1, 0])


def test_responses_of_another_scale_are_warned_of():
    X, Y = data()
    with pytest.warns(ResponseScaleWarning, match="z-score the responses"):
        encoder().fit(X, 40 * Y)


# ------------------------------------------------------------------------------------------------------------ readings
def test_attention_is_a_share_of_one_and_moves_with_its_stimuli():
    X, Y = data(missing=True)
    order = np.random.default_rng(2).permutation(len(X))
    for layer in (0, -1):
        attention = attention_to_context(encoder(n_targets_batch=3), X, Y, layer)
        known = np.isfinite(Y).any(axis=0)
        assert attention.shape == (7, 40) and np.isnan(attention[~known]).all()
        assert (attention[known][np.isfinite(Y.T[known])] > 0).all() and not attention[known][
            np.isnan(Y.T[known])
        ].any()
        assert (attention[known].sum(axis=1) < 1).all(), "the learned tokens have the rest"
        moved = attention_to_context(encoder(), X[order], Y[order], layer)
        np.testing.assert_allclose(moved, attention[:, order], atol=1e-6)
    with pytest.raises(DataError, match="layer is 2"):
        attention_to_context(encoder(), X, Y, 2)


def test_attention_finds_the_stimulus_a_head_was_built_to_find():
    """Planted: keys read the response, queries are constant, so that the largest response gets the attention."""
    net = network()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.early.bypass.weight[0, -1] = 1.0  # the response, in channel 0 ...
        net.early.bypass.weight[1, -1] = -1.0  # ... and balanced, so that the norm keeps its sign
        block = net.blocks[-1]
        for norm in (b.norm for b in net.blocks):
            norm.weight.fill_(1.0)
        block.project_in.bias[:2] = 1.0
        block.project_in.weight[16, 0] = 1.0
    X, Y = data()
    Y = np.where(np.abs(Y) < 0.1, 0.5, Y)
    attention = attention_to_context(InContext.from_network(net, device="cpu"), X, Y)
    for target in range(Y.shape[1]):
        positive = Y[:, target] > 0
        assert attention[target, positive].min() > 1.5 * attention[target, ~positive].max()


def test_the_text_query_names_the_planted_direction():
    rng = np.random.default_rng(0)
    texts = {
        name: unit_rows(rng.standard_normal((3, SIZE)) * 0.2 + 2 * np.eye(SIZE)[k]) for k, name in enumerate("abcd")
    }
    planted = rng.integers(4, size=60)
    coef = np.eye(SIZE)[planted].T + 0.1 * rng.standard_normal((SIZE, 60))
    coef[:, 7] = np.nan
    read = text_selectivity(coef, texts)
    known = np.arange(60) != 7
    np.testing.assert_array_equal(read.best[known], planted[known])
    assert read.best[7] == -1 and np.isnan(read.z[:, 7]).all()
    np.testing.assert_allclose(read.z[:, known].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(read.z[:, known].std(axis=0), 1, atol=1e-6)
    assert read.share("b", planted == 1) == 1.0 and read.share("b", planted == 2) == 0.0
    shuffled = text_selectivity(rng.permutation(coef), texts)  # the broken twin: features torn from their names
    assert np.mean(shuffled.best[known] == planted[known]) < 0.6
    assert text_selectivity(np.ones((SIZE, 2)), {"a": texts["a"], "b": texts["a"]}).z.shape == (2, 2)


def test_prompts_that_do_not_fit_are_refused():
    coef = np.ones((SIZE, 4))
    one = np.eye(SIZE)[0]
    for prompts, words in (
        ({"a": one}, "at least two"),
        ({"a": one, "b": np.eye(5)[0]}, "use the text tower"),
        ({"a": one, "b": 3 * one}, "not of unit norm"),
    ):
        with pytest.raises(DataError, match=words):
            text_selectivity(coef, prompts)
    with pytest.raises(DataError, match="choose one"):
        text_selectivity(coef, {"a": one, "b": np.eye(SIZE)[1]}).share("c")


def test_colours_separate_planted_groups_and_do_not_depend_on_the_order():
    rng = np.random.default_rng(0)
    group = np.arange(90) % 3
    coef = 3 * np.eye(SIZE)[group].T + 0.1 * rng.standard_normal((SIZE, 90))
    coef[0, 4] = np.nan
    colours = principal_colours(coef)
    assert colours.shape == (90, 3) and np.isnan(colours[4]).all()
    known = np.arange(90) != 4
    assert colours[known].min() >= 0 and colours[known].max() <= 1
    centres = np.array([colours[known & (group == g)].mean(axis=0) for g in range(3)])
    nearest = ((colours[:, None] - centres) ** 2).sum(axis=2)[:, :]
    assert np.mean(nearest[known].argmin(axis=1) == group[known]) > 0.95
    order = rng.permutation(90)
    np.testing.assert_allclose(principal_colours(coef[:, order]), colours[order], atol=1e-5)
    with pytest.raises(DataError, match="wanted at least 3 of both"):
        principal_colours(coef[:2])


def test_umap_is_asked_for_when_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(DataError, match="pip install umap-learn"):
        umap_colours(np.eye(SIZE), seed=0)


def test_the_group_average_leaves_its_subject_out():
    rng = np.random.default_rng(0)
    weights = {name: (rng.standard_normal((SIZE, 5)), rng.standard_normal(5)) for name in ("01", "02", "03")}
    weights["02"][0][:, 3] = np.nan
    weights["03"][0][0, 4], weights["02"][1][4] = np.nan, np.nan
    coef, intercept = group_average(weights, "01")
    np.testing.assert_allclose(coef[:, :3], (weights["02"][0] + weights["03"][0])[:, :3] / 2, rtol=1e-6)
    np.testing.assert_allclose(coef[:, 3], weights["03"][0][:, 3], rtol=1e-6)
    np.testing.assert_allclose(intercept[:3], (weights["02"][1] + weights["03"][1])[:3] / 2, rtol=1e-6)
    assert np.isnan(coef[:, 4]).all() and np.isnan(intercept[4])
    weights["01"] = (weights["01"][0] + 1e6, weights["01"][1])
    np.testing.assert_array_equal(group_average(weights, "01")[0], coef)
    for given in ({"01": weights["01"]}, {**weights, "04": (np.ones((SIZE, 6)), np.ones(6))}):
        with pytest.raises(DataError, match="bring them to one surface"):
            group_average(given, "01")


# -------------------------------------------------------------------------------------------------------------- curves
def test_contexts_are_disjoint_and_follow_from_the_seed():
    rows = disjoint_contexts(100, 20, 5, seed=1)
    assert rows.shape == (5, 20) and len(np.unique(rows)) == 100
    np.testing.assert_array_equal(rows, disjoint_contexts(100, 20, 5, seed=1))
    assert not np.array_equal(rows, disjoint_contexts(100, 20, 5, seed=2))
    with pytest.raises(DataError, match="105 needed"):
        disjoint_contexts(100, 21, 5, seed=1)


class Zero:
    """Predicts 0."""

    @staticmethod
    def predict(X):
        return np.zeros((len(X), 7))


def test_all_encoders_of_a_curve_see_the_same_contexts():
    X, Y = data(60, seed=1)
    X_test, Y_test = data(30, seed=2)
    seen = []

    class Reader:
        def __init__(self, X, Y):
            seen.append((X, Y))

        def predict(self, X):
            return X @ np.ones((SIZE, 7))

    curve = context_curve(encoder(), X, Y, X_test, Y_test, (20, 10), 3, seed=5, others={"reader": Reader})
    assert curve.sizes == (10, 20) and curve.correlations["in_context"].shape == (2, 3, 7)
    for (x, y), rows in zip(seen, [*curve.contexts[0], *curve.contexts[1]], strict=True):
        np.testing.assert_array_equal(x, X[rows])
        np.testing.assert_array_equal(y, Y[rows])
    rows = curve.contexts[1][2]
    expected = np.nan_to_num(correlation(Y_test, fit_ridge(X[rows], Y[rows]).predict(X_test)))
    np.testing.assert_array_equal(curve.correlations["ridge"][1, 2], expected)
    expected = correlation(Y_test, encoder().fit(X[rows], Y[rows]).predict(X_test))
    np.testing.assert_array_equal(curve.correlations["in_context"][1, 2], expected)
    constant = context_curve(encoder(), X, Y, X_test, Y_test, (8,), 2, seed=5, others={"zero": lambda X, Y: Zero})
    assert not constant.correlations["zero"].any(), "a prediction that knows nothing scores 0"
    margin, error = curve.margin("in_context", "ridge")
    np.testing.assert_allclose(margin, curve.mean("in_context") - curve.mean("ridge"), atol=1e-6)
    assert error.shape == (2,) and (error > 0).all()


def test_a_test_stimulus_among_the_candidates_is_refused():
    X, Y = data(60)
    with pytest.raises(DataError, match="1 of 11 test stimuli are also candidates"):
        context_curve(encoder(), X[:50], Y[:50], X[49:], Y[49:], (10,), 2, seed=0)
    with pytest.raises(DataError, match="none below 4"):
        context_curve(encoder(), X[:50], Y[:50], X[50:], Y[50:], (2, 10), 2, seed=0)
