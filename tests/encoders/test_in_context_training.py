"""Training of the in-context encoder: what is excluded stays out, stages follow each other, and the planted promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainenc.core.types import DataError
from brainenc.encoders.in_context import InContext
from brainenc.encoders.in_context_curves import context_curve
from brainenc.encoders.in_context_training import Curriculum, HeldOut, train_in_context, without_stimuli
from brainenc.nn.hypernetwork import HyperNetwork, HyperShape
from brainenc.nn.recipe import Recipe
from brainenc.nn.voxel_tasks import MeasuredSubject, MeasuredTargets, SimulatedTargets
from tests.encoders import weight_population as population

pytestmark = pytest.mark.filterwarnings("ignore::brainenc.encoders.alphas.AlphaEdgeWarning")
SHORT = Recipe(6, 1e-3, validate_every=3, checkpoint_every=2, log_every=1)
SMALL = {"n_query": 10, "n_targets": 4, "shortest": 5, "longest": 20, "n_validation": 6}
X = population.embeddings(60, 3)
IDS = [f"s{i}" for i in range(60)]
NOBODY = HeldOut("test", ["t0", "t1"])


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return HyperNetwork(HyperShape(22, width=8, n_layers=2, n_heads=2, hidden=8))


def subject(name="01", ids=IDS, t=5):
    weights = population.draw_weights(t, torch.Generator().manual_seed(1))
    return MeasuredSubject(name, ids, X[: len(ids)], population.respond_noisily(X[: len(ids)], weights, 2))


def train(folder, net=None, held_out=NOBODY, recipe=SHORT, **changes):
    arguments = {
        "simulated": SimulatedTargets(X, population.draw_weights),
        "simulated_ids": IDS,
        "subjects": [subject("01"), subject("02")],
        "curriculum": Curriculum(recipe, recipe, recipe, **SMALL),
        **changes,
    }
    net = network() if net is None else net
    return net, train_in_context(net, arguments.pop("curriculum"), folder, 3, held_out=held_out, **arguments)


def weights_of(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


# ----------------------------------------------------------------------------------------------------------- exclusion
@pytest.mark.parametrize(
    ("held_out", "words"),
    [
        (HeldOut("02", []), "'02' is the test subject and among the training subjects 01, 02"),
        (HeldOut("03", ["s59"]), "1 test stimuli of subject '03' .first 's59'. are trained on in the simulation"),
    ],
)
def test_the_test_subject_and_its_stimuli_never_train(tmp_path, held_out, words):
    with pytest.raises(DataError, match=words):
        train(tmp_path / "run", held_out=held_out)
    assert not (tmp_path / "run").exists(), "refused before anything is trained"


def test_test_stimuli_of_other_subjects_are_found_and_can_be_dropped(tmp_path):
    held_out = HeldOut("03", ["s58", "s59"])
    rest = {"simulated": SimulatedTargets(X[:58]), "simulated_ids": IDS[:58]}
    with pytest.raises(DataError, match="2 test stimuli of subject '03' .* trained on in subject 01"):
        train(tmp_path, held_out=held_out, **rest)
    subjects = [without_stimuli(subject(name), held_out.stimulus_ids) for name in ("01", "02")]
    assert subjects[0].stimulus_ids == tuple(IDS[:58]) and subjects[0].Y.shape == (58, 5)
    np.testing.assert_array_equal(subjects[0].Y, subject("01").Y[:58])
    train(tmp_path, held_out=held_out, subjects=subjects, **rest)
    with pytest.raises(DataError, match="only held-out stimuli"):
        without_stimuli(subject(), IDS)


def test_a_simulation_without_names_is_refused(tmp_path):
    with pytest.raises(DataError, match="60 stimuli and 0 ids"):
        train(tmp_path, simulated_ids=())


# -------------------------------------------------------------------------------------------------------------- stages
def test_stages_follow_each_other_with_the_contexts_they_promise(tmp_path):
    net, logs = train(tmp_path, curriculum=Curriculum(*[Recipe(40, 1e-3, log_every=1)] * 3, **SMALL))
    assert list(logs) == ["simulated", "extended", "measured"]
    assert set(logs["simulated"].column("n_context")) == {50.0}, "500, or as many as there are"
    for stage in ("extended", "measured"):
        sizes = logs[stage].column("n_context")
        assert min(sizes) >= 5 and max(sizes) <= 20 and len(set(sizes)) > 8
        assert (tmp_path / stage / "log.csv").exists()
    assert not net.training


def test_each_stage_starts_from_the_one_before(tmp_path):
    """One stage at a time gives the same weights as all at once only if each takes over what the last one left."""
    whole, _ = train(tmp_path / "whole")
    first, _ = train(tmp_path / "first", curriculum=Curriculum(simulated=SHORT, **SMALL))
    both, _ = train(tmp_path / "both", curriculum=Curriculum(simulated=SHORT, extended=SHORT, **SMALL))
    differs = [name for name, tensor in weights_of(first).items() if not torch.equal(tensor, weights_of(both)[name])]
    assert differs
    both_again, _ = train(tmp_path / "whole", resume=True)  # finished: every stage is read back
    assert all(torch.equal(tensor, weights_of(both_again)[name]) for name, tensor in weights_of(whole).items())


def test_a_killed_training_goes_on_bit_for_bit(tmp_path, monkeypatch):
    whole, _ = train(tmp_path / "whole")
    draw = MeasuredTargets.draw
    calls = []

    def fragile(self, *arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return draw(self, *arguments)

    monkeypatch.setattr(MeasuredTargets, "draw", fragile)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed")
    torch.manual_seed(99)
    resumed, _ = train(tmp_path / "killed", net=network(), resume=True)
    for name, tensor in weights_of(whole).items():
        assert torch.equal(tensor, weights_of(resumed)[name]), name


def test_early_stopping_hears_validation_targets(tmp_path):
    recipe = Recipe(30, 1e-3, validate_every=2, log_every=2, watch="correlation", patience=2)
    validation = SimulatedTargets(population.embeddings(80, 9), population.draw_weights)
    _, logs = train(tmp_path, recipe=recipe, validation=validation)
    for log in logs.values():
        assert log.best is not None and {"correlation", "r2"} < log.best.keys()


def test_every_parameter_learns(tmp_path):
    net = network()
    before = weights_of(net)
    train(tmp_path, net=net, curriculum=Curriculum(measured=SHORT, **SMALL))
    still = [name for name, tensor in weights_of(net).items() if torch.equal(tensor, before[name])]
    assert not still


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"subjects": ()}, "stage 'measured' has a recipe but no data"),
        ({"simulated": None, "simulated_ids": ()}, "stage 'simulated' has a recipe but no data"),
        ({"curriculum": Curriculum(extended=SHORT, n_query=40)}, "wanted 40 queries and at least 30"),
    ],
)
def test_stages_without_enough_data_are_refused(tmp_path, changes, words):
    with pytest.raises(DataError, match=words):
        train(tmp_path, **changes)


@pytest.mark.parametrize("sizes", [{}, {"simulated": SHORT, "shortest": 0}, {"simulated": SHORT, "longest": 3}])
def test_impossible_curricula_are_refused(sizes):
    with pytest.raises(DataError, match="Curriculum"):
        Curriculum(**sizes)


# ------------------------------------------------------------------------------------------------------- planted truth
def test_the_bound_is_one():
    """Nobody who sees the context alone has a smaller squared error than the posterior mean, and it stays below the
    ceiling; a wrong belief about the noise is worse."""
    X, Y, X_test, Y_test = population.new_subject()
    for n in (10, 50):
        best = np.mean((population.Bayes(X[:n], Y[:n]).predict(X_test) - Y_test) ** 2)
        ridge = np.mean((population.fit_best_ridge(X[:n], Y[:n]).predict(X_test) - Y_test) ** 2)
        loud = np.mean((population.Bayes(X[:n], Y[:n] * 1.5).predict(X_test) - Y_test) ** 2)
        assert population.NOISE_SD**2 < best < min(ridge, loud)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    net, _ = population.meta_trained(tmp_path_factory.mktemp("meta"))
    return net, population.curve_of(net)


@pytest.mark.slow
def test_meta_trained_it_beats_ridge_where_data_are_few_and_keeps_below_the_bound(trained):
    net, curve = trained
    assert population.faults(curve) == []
    margin, error = curve.margin("in_context", "loo_ridge")
    assert margin[1] > 3 * error[1]


@pytest.mark.slow
def test_the_check_rejects_broken_encoders(trained):
    """Contexts torn apart give about 0; a network deaf to its context, ridge itself and a leak are noticed."""
    net, _ = trained
    X, Y, X_test, Y_test = population.new_subject()
    encoder = InContext.from_network(net, device="cpu")
    order = np.random.default_rng(4).permutation(len(X))
    others = {"loo_ridge": population.fit_best_ridge, "bayes": population.Bayes}

    def torn(X, Y):
        return InContext.from_network(net, device="cpu").fit(X, np.random.default_rng(0).permuted(Y, axis=0))

    def deaf(X, Y):
        """Answers with the weights of the mean target, whatever it was told."""
        return InContext.from_network(net, device="cpu").fit(X, np.repeat(Y.mean(axis=1, keepdims=True), Y.shape[1], 1))

    def leak(X, Y):
        return population.Bayes(X_test, Y_test)

    broken = {"torn": torn, "deaf": deaf, "leak": leak}
    curve = context_curve(encoder, X[order], Y[order], X_test, Y_test, (20, 50, 200), 2, 1, others={**others, **broken})
    assert np.abs(curve.mean("torn")).max() < 0.15, "each target's responses are shuffled by themselves"
    for name in (*broken, "ridge"):
        assert population.faults(curve, name), name
    assert any("above the bound" in fault for fault in population.faults(curve, "leak"))
