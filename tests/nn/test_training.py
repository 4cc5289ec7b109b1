"""The training loop: a stopped run goes on bit for bit, validation changes nothing, damage is told, patience obeys."""

from __future__ import annotations

import contextlib
import csv
from pathlib import Path

import pytest
import torch
from torch import nn

from brainenc.core.types import DataError
from brainenc.nn import training
from brainenc.nn.checkpoints import checkpoints, tensors_of
from brainenc.nn.optimiser import decay_groups
from brainenc.nn.training import Recipe, TrainingLog, train

TRUTH = torch.tensor([1.0, -2.0, 0.5, 0.0])


class Killed(Exception):
    """Stands for a machine that goes away."""


def network() -> nn.Module:
    """With everything that has a state or draws at random: norm statistics, dropout."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))


def toy_loss(net: nn.Module, killed_at: int | None = None):
    def loss(step, generator):
        if step == killed_at:
            raise Killed
        inputs = torch.randn(16, 4, generator=generator)
        return ((net(inputs)[:, 0] - inputs @ TRUTH) ** 2).mean(), {"seen": 16.0}

    return loss


def toy_score(net: nn.Module):
    inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(99))
    return lambda: {"fit": -float(((net(inputs)[:, 0] - inputs @ TRUTH) ** 2).mean())}


def run(folder: Path, recipe: Recipe, *, killed_at: int | None = None, validated: bool = True, **more):
    net = network()
    log = train(
        {"net": net}, toy_loss(net, killed_at), recipe, folder, 5, toy_score(net) if validated else None, **more
    )
    return tensors_of({"net": net}), log


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def plain_rows(log: TrainingLog) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in log.rows]


RECIPES = {
    "plain": Recipe(60, 1e-2, warmup=5, validate_every=15, checkpoint_every=10, log_every=7),
    "average": Recipe(60, 1e-2, ema=0.95, validate_every=15, checkpoint_every=10, log_every=7),
    "best": Recipe(60, 1e-2, ema=0.9, watch="fit", patience=3, validate_every=6, checkpoint_every=10, log_every=7),
    "flat": Recipe(60, 1e-2, schedule="half_flat", clip=None, bf16=True, validate_every=15, checkpoint_every=10),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("killed_at", [3, 10, 37])
def test_killed_and_resumed_is_undisturbed(tmp_path, recipe, killed_at):
    whole, log = run(tmp_path / "whole", recipe)
    with pytest.raises(Killed):
        run(tmp_path / "killed", recipe, killed_at=killed_at)
    torch.manual_seed(12345)  # whatever the new session drew before
    resumed, second = run(tmp_path / "killed", recipe, resume=True)
    assert equal(whole, resumed)
    assert plain_rows(log) == plain_rows(second) and log.best == second.best and log.steps == second.steps


def test_without_the_optimiser_a_resumed_run_goes_elsewhere(tmp_path, monkeypatch):
    """The broken twin: were the state not restored, the comparison above would see it."""
    recipe = RECIPES["plain"]
    whole, _ = run(tmp_path / "whole", recipe)
    with pytest.raises(Killed):
        run(tmp_path / "killed", recipe, killed_at=37)
    monkeypatch.setattr(training, "fill_optimiser", lambda optimiser, values: None)
    resumed, _ = run(tmp_path / "killed", recipe, resume=True)
    assert not equal(whole, resumed)


def test_a_finished_training_is_resumed_without_a_step(tmp_path):
    for name in ("average", "best"):
        whole, log = run(tmp_path / name, RECIPES[name])
        again, second = run(tmp_path / name, RECIPES[name], killed_at=log.steps, resume=True)
        assert equal(whole, again) and second.steps == log.steps


def test_the_loss_falls_and_the_log_says_so(tmp_path):
    _, log = run(tmp_path, Recipe(300, 2e-2, warmup=10, log_every=50, validate_every=100, checkpoint_every=100))
    losses = log.column("loss")
    assert losses[-1] < 0.5 * losses[0] and len(log.column("validation_fit")) == 3
    with open(tmp_path / "log.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == losses and [int(row["step"]) for row in rows] == log.column("step")
    assert {"learning_rate", "seconds", "seen", "validation_fit"} < rows[0].keys()


@pytest.mark.parametrize("name", ["plain", "average"])
def test_validation_never_changes_the_training(tmp_path, name):
    with_scores, _ = run(tmp_path / "with", RECIPES[name])
    without, _ = run(tmp_path / "without", RECIPES[name], validated=False)
    assert equal(with_scores, without)


def test_a_validation_in_training_mode_would_be_seen(tmp_path, monkeypatch):
    """The broken twin: norm statistics then drink from the validation data."""
    monkeypatch.setattr(training, "undisturbed", lambda *_: contextlib.nullcontext())
    with_scores, _ = run(tmp_path / "with", RECIPES["plain"])
    without, _ = run(tmp_path / "without", RECIPES["plain"], validated=False)
    assert not equal(with_scores, without)


def test_what_is_validated_is_the_average(tmp_path):
    recipe = Recipe(40, 1e-2, ema=0.99, validate_every=40)
    net = network()
    log = train({"net": net}, toy_loss(net), recipe, tmp_path, 5, toy_score(net))
    assert not net.training and toy_score(net)()["fit"] == log.column("validation_fit")[-1]


def test_the_average_is_the_sum_it_says(tmp_path):
    net, seen = network(), []

    def loss(step, generator):
        seen.append({name: t.detach().clone() for name, t in net.named_parameters()})
        return toy_loss(net)(step, generator)

    train({"net": net}, loss, Recipe(30, 1e-2, ema=0.8), tmp_path / "average", 5)
    last = network()
    train({"net": last}, toy_loss(last), Recipe(30, 1e-2), tmp_path / "last", 5)
    for name, final in net.named_parameters():
        average = seen[0][name]
        for step, weights in enumerate([*(s[name] for s in seen[1:]), last.get_parameter(name).detach()]):
            decay = min(0.8, (1 + step) / (10 + step))
            average = decay * average + (1 - decay) * weights
        torch.testing.assert_close(final.detach(), average)


def test_early_stopping_hears_validation_only(tmp_path):
    """The loss falls all the time, the score turns: the best score's weights are kept."""
    net, scores = network(), iter([1.0, 3.0, 2.0, 2.5, 2.9, 9.0, 9.0, 9.0, 9.0, 9.0])
    kept = {}

    def validate():
        score = next(scores)
        kept[score] = {name: tensor.clone() for name, tensor in tensors_of({"net": net}).items()}
        return {"fit": score}

    recipe = Recipe(100, 1e-2, watch="fit", patience=3, validate_every=10)
    log = train({"net": net}, toy_loss(net), recipe, tmp_path, 5, validate)
    assert log.stopped_early and log.steps == 50 and log.best == {"step": 20, "fit": 3.0}
    assert equal(tensors_of({"net": net}), kept[3.0])


def test_without_patience_it_runs_to_the_end_whatever_the_loss(tmp_path):
    net = network()
    log = train(
        {"net": net}, toy_loss(net), Recipe(30, 1e-2, watch="fit", validate_every=3), tmp_path, 5, lambda: {"fit": 0.0}
    )
    assert log.steps == 30 and not log.stopped_early and log.best == {"step": 3, "fit": 0.0}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_truncated_checkpoint_falls_back_to_the_one_before(tmp_path):
    whole, _ = run(tmp_path / "whole", RECIPES["average"])
    with pytest.raises(Killed):
        run(tmp_path / "cut", RECIPES["average"], killed_at=37)
    older, latest = checkpoints(tmp_path / "cut")
    assert (older.name, latest.name) == ("checkpoint-00000020.safetensors", "checkpoint-00000030.safetensors")
    cut(latest)
    with pytest.warns(UserWarning, match="checkpoint-00000030.* Going on from checkpoint-00000020"):
        resumed, _ = run(tmp_path / "cut", RECIPES["average"], resume=True)
    assert equal(whole, resumed)


def test_when_all_are_truncated_one_sentence_says_so(tmp_path):
    run(tmp_path, RECIPES["plain"])
    for path in checkpoints(tmp_path):
        cut(path)
    with pytest.raises(
        DataError, match="none of 2 checkpoints can be read .*: delete the folder and train anew"
    ) as told:
        run(tmp_path, RECIPES["plain"], resume=True)
    assert "\n" not in str(told.value)


def test_refusals(tmp_path):
    run(tmp_path, RECIPES["plain"], facts={"batch": 16})
    with pytest.raises(DataError, match="holds checkpoint-00000060.safetensors of an earlier training: resume it"):
        run(tmp_path, RECIPES["plain"])
    with pytest.raises(DataError, match="trained with batch 16, now it is 32"):
        run(tmp_path, RECIPES["plain"], facts={"batch": 32}, resume=True)
    with pytest.raises(DataError, match="trained with learning_rate 0.01, now it is 0.1"):
        run(
            tmp_path,
            Recipe(60, 0.1, warmup=5, validate_every=15, checkpoint_every=10, log_every=7),
            facts={"batch": 16},
            resume=True,
        )
    with pytest.raises(DataError, match="watches 'r2', validation gives fit"):
        run(tmp_path / "new", Recipe(4, 1e-2, watch="r2"))
    with pytest.raises(DataError, match="watches 'fit' but no validation"):
        run(tmp_path / "new", Recipe(4, 1e-2, watch="fit"), validated=False)
    net = network()
    with pytest.raises(DataError, match="the loss is nan at step 0: lower the learning rate"):
        train(
            {"net": net},
            lambda step, generator: (net(torch.full((2, 4), torch.nan)).sum(), {}),
            RECIPES["plain"],
            tmp_path / "nan",
            0,
        )
    with pytest.raises(DataError, match="without trainable parameters"):
        train({"net": network().requires_grad_(False)}, toy_loss(net), RECIPES["plain"], tmp_path / "frozen", 0)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"learning_rate": 0.0}, {"ema": 1.0}, {"patience": 2}, {"schedule": "x"}]
)
def test_a_recipe_refuses_what_cannot_be(wrong):
    with pytest.raises(DataError, match=f"Recipe: {next(iter(wrong))} is"):
        Recipe(**{"steps": 10, "learning_rate": 1e-3, **wrong})


def test_schedules():
    cosine = Recipe(100, 2.0, warmup=10, final=0.1)
    rates = [cosine.rate(step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * i for i in range(1, 11)]) and max(rates) == 2.0
    assert all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False)) and cosine.rate(100) == pytest.approx(0.2)
    assert cosine.rate(55) == pytest.approx(1.1)
    flat = Recipe(100, 2.0, warmup=10, schedule="half_flat", final=0.0)
    assert {flat.rate(step) for step in range(9, 51)} == {2.0} and flat.rate(75) == pytest.approx(1.0)


def test_only_matrices_and_kernels_decay():
    net = nn.ModuleDict({"words": nn.Embedding(5, 3), "conv": nn.Conv2d(1, 2, 3), "norm": nn.LayerNorm(3)})
    net.register_parameter("positional_embedding", nn.Parameter(torch.zeros(4, 3)))
    decayed, free = decay_groups({"net": net, "again": net}, 0.1)
    assert [p is net["conv"].weight for p in decayed["params"]] == [True] and decayed["weight_decay"] == 0.1
    assert len(free["params"]) == 5 and free["weight_decay"] == 0.0


def test_a_step_depends_on_seed_and_step_alone(tmp_path):
    """Whatever the loss draws, from its generator or from torch's own, is that of (seed, step)."""
    drawn: dict[int, list[tuple[float, float]]] = {0: [], 1: []}
    for seed in (0, 0, 1):
        net, here = network(), []

        def loss(step, generator, net=net, here=here):
            here.append((float(torch.rand(1, generator=generator)), float(torch.rand(1))))
            return net(torch.ones(2, 4)).sum() ** 2, {}

        train({"net": net}, loss, Recipe(5, 1e-3), tmp_path / f"{seed}{len(drawn[seed])}", seed)
        assert not drawn[seed] or drawn[seed] == here
        drawn[seed] = here
    assert len(set(drawn[0])) == 5 and not set(drawn[0]) & set(drawn[1])


def test_the_global_generator_is_left_as_it_was(tmp_path):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    run(tmp_path, RECIPES["average"])
    assert torch.equal(before, torch.get_rng_state())
