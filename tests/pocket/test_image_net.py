"""The image networks: questions and answers, what timm reads, the labelled and the unlabelled loss, short trainings."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from brainenc.core.types import DataError
from brainenc.nn.training import Recipe
from brainenc.pocket import train_net, train_net_ssl
from brainenc.pocket.image_net import Heads, NetShape, as_input, build, find_heads, label, load_network, save_network
from brainenc.pocket.net_scores import Judge, answers, linear_probe, net_scores, read_scores, single_content_scenes
from brainenc.pocket.train_net import NetRecipe, altered, supervised_loss
from brainenc.pocket.train_net_ssl import SslRecipe, vicreg_loss, view
from brainenc.world.scenes import CATEGORIES, Thing, render_scene

SHAPE = NetShape(layers=(1, 1, 1, 1), channels=(8, 8, 16, 16), stem_width=8)
TINY = NetRecipe(
    shape=SHAPE,
    n_scenes=192,
    n_scored=2,
    least_examples=1,
    batch_size=16,
    course=Recipe(steps=40, learning_rate=5e-3, validate_every=40, log_every=8),
)


@pytest.fixture(scope="module")
def heads(scenes) -> Heads:
    return find_heads(scenes.things, 1)


def perfect_outputs(things, heads: Heads) -> np.ndarray:
    """Outputs of a network that knows everything."""
    truth = label(things, heads)
    given = np.zeros((len(things), heads.n_outputs), np.float32)
    given[:, heads.columns("content")] = 20 * truth.content - 10
    for column, name in enumerate(heads.attributes):
        rows = np.flatnonzero(truth.values[:, column] >= 0)
        given[rows, heads.columns(name).start + truth.values[rows, column]] = 30
    given[:, heads.columns("position")] = np.nan_to_num(truth.position)
    return given


def test_heads_lie_side_by_side(heads):
    places = [heads.columns(name) for name in heads.answers]
    assert places[0].start == 0 and places[-1].stop == heads.n_outputs
    assert all(first.stop == second.start for first, second in zip(places, places[1:], strict=False))
    assert heads.answers["content"] == CATEGORIES
    assert {"tool.kind", "face.expression", "vehicle.colour"} <= set(heads.attributes)
    with pytest.raises(DataError, match="Head 'smell' came"):
        heads.columns("smell")
    with pytest.raises(DataError, match="shows a thing"):
        find_heads([(), ()])


def test_labels_say_what_is_shown_and_where(heads):
    saw = Thing("tool", "a red saw", (0.1, 0.2, 0.5, 0.4), {"kind": "saw", "colour": "red"})
    odd = Thing("tool", "a red spoon", (0.1, 0.2, 0.5, 0.4), {"kind": "spoon"})
    truth = label([(saw,), (saw, saw), (odd,), ()], heads)
    kind = heads.attributes.index("tool.kind")
    assert truth.content[:, CATEGORIES.index("tool")].tolist() == [1, 1, 1, 0]
    assert heads.answers["tool.kind"][truth.values[0, kind]] == "saw"
    assert (truth.values[1:, kind] == -1).all()  # two saws, an unknown kind, nothing
    start = heads.answers["position"].index("tool.x")
    assert np.allclose(truth.position[0, start : start + 4], [0.3, 0.3, 0.4, 0.2])
    assert np.isnan(truth.position[1]).all() and np.isfinite(truth.position[0]).sum() == 4


def test_a_network_that_knows_everything_has_no_loss_and_full_scores(scenes, heads):
    truth, given = label(scenes.things, heads), perfect_outputs(scenes.things, heads)
    assert supervised_loss(torch.from_numpy(given), truth, heads) < 1e-3
    single = np.flatnonzero(scenes.is_single)
    scores = read_scores(given[single], [scenes.things[i] for i in single], heads)
    assert scores.pop("position") == 0
    assert set(scores.values()) == {1.0} and "word.word" in scores
    shuffled = given[single][np.random.default_rng(0).permutation(len(single))]
    worse = read_scores(shuffled, [scenes.things[i] for i in single], heads)
    assert worse["content"] < 0.4 and worse["tool.kind"] < 0.8 and worse["position"] > 0


def test_every_output_is_taught(scenes, heads):
    outputs = torch.zeros(len(scenes), heads.n_outputs, requires_grad=True)
    supervised_loss(outputs, label(scenes.things, heads), heads).backward()
    assert (outputs.grad.abs().sum(0) > 0).all()


def test_the_folder_loads_through_timm_and_through_the_feature_class(tmp_path, heads):
    from brainenc.features import build as build_feature

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(heads.n_outputs, SHAPE).eval()
    save_network(network, tmp_path, SHAPE, heads)
    import timm  # after ours, which makes a torchvision of another torch harmless

    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    given = as_input(np.stack([render_scene(500_000 + i).image for i in range(3)]))
    with torch.no_grad():
        assert (again(given) - network(given)).abs().max() < 0.02
    assert again.pretrained_cfg["input_size"] in ((3, 64, 64), [3, 64, 64])
    ours, questions = load_network(tmp_path)
    assert questions == heads and not any(p.requires_grad for p in ours.parameters())
    config = json.loads((tmp_path / "config.json").read_text())
    kwargs = {**config["model_args"], "num_classes": config["num_classes"]}
    feature = build_feature(
        "timm",
        "net",
        model=config["architecture"],
        checkpoint=str(tmp_path / "model.safetensors"),
        model_kwargs=kwargs,
        layer="head",
        size=64,
        mean=[0.5] * 3,
        std=[0.5] * 3,
        device="cpu",
    )
    with torch.no_grad():
        assert torch.allclose(feature.compute(given), again(given), atol=1e-5)
    with pytest.raises(DataError, match="holds no network"):
        load_network(tmp_path / "nowhere")


def test_a_judge_gives_probabilities_and_reads(tmp_path, heads):
    save_network(build(heads.n_outputs, SHAPE), tmp_path, SHAPE, heads)
    judge = Judge.load(tmp_path)
    images = np.stack([render_scene(500_000 + i).image for i in range(5)])
    came = judge(images)
    assert came.shape == (5, 7) and (came >= 0).all() and (came <= 1).all()
    assert set(judge.read(images, "word.word")) <= set(heads.answers["word.word"])
    (tmp_path / "heads.json").unlink()
    with pytest.raises(DataError, match="no heads.json"):
        Judge.load(tmp_path)


def test_alterations_keep_shape_and_share():
    given = torch.rand(400, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    source = torch.Generator().manual_seed(1)
    assert torch.equal(altered(given, source, share=0.0), given)
    changed = (altered(given, source, share=0.6) != given).flatten(1).any(1).float().mean()
    assert abs(changed - 0.6) < 0.1


def test_vicreg_prefers_views_that_agree_and_columns_that_differ():
    source = torch.Generator().manual_seed(0)
    good = torch.randn(512, 16, generator=source)
    collapsed, copied = torch.zeros(512, 16), good[:, :1].expand(512, 16)
    strange = torch.randn(512, 16, generator=source)
    best, parts = vicreg_loss(good, good)
    assert parts["agreement"] == 0
    assert best < 2
    for first, second in ((collapsed, collapsed), (copied, copied), (good, strange)):
        assert vicreg_loss(first, second)[0] > 5 * best


def test_views_differ_and_stay_in_shape():
    given = as_input(np.stack([render_scene(500_000 + i).image for i in range(4)]))
    source = torch.Generator().manual_seed(0)
    first, second = (view(given, source, SslRecipe()) for _ in range(2))
    assert first.shape == given.shape and not torch.allclose(first, second, atol=0.05)
    assert torch.isfinite(first).all()


def test_a_linear_probe_finds_what_is_there_and_nothing_else():
    rng = np.random.default_rng(0)
    content = rng.integers(0, 7, 700)
    features = rng.normal(size=(700, 30))
    told = features.copy()
    told[:, :7] += 3 * np.eye(7)[content]
    halves = (slice(0, 350), slice(350, 700))
    informed, blind = (
        linear_probe(*((given[half].astype(np.float32), content[half]) for half in halves))
        for given in (told, features)
    )
    assert informed > 0.9 and blind < 0.3


def test_single_content_scenes_are_balanced():
    scenes = single_content_scenes(2, size=16)
    assert [scene.things[0].category for scene in scenes] == [name for name in CATEGORIES for _ in range(2)]


def few_scenes(monkeypatch, page):
    opened = page.open_scenes
    monkeypatch.setattr(page, "open_scenes", lambda cache, split, n: opened(cache, split, min(n, 192), processes=1))


def test_training_with_labels_lowers_the_loss(tmp_path, cache_folder, monkeypatch):
    few_scenes(monkeypatch, train_net)
    made = train_net.make("pocket-net", tmp_path, cache_folder, recipe=TINY)
    losses = made.log.column("loss")
    assert losses[-1] < 0.9 * losses[0]
    assert set(made.floors) <= set(made.scores)
    network, heads = load_network(made.folder)
    assert net_scores(network, heads, 2) == made.scores
    assert answers(network, np.zeros((2, 64, 64, 3), np.uint8)).shape == (2, heads.n_outputs)
    with pytest.raises(DataError, match="is no image network"):
        train_net.make("pocket-clip", tmp_path, cache_folder)


def test_training_without_labels_lowers_the_loss(tmp_path, cache_folder, monkeypatch):
    few_scenes(monkeypatch, train_net_ssl)
    recipe = SslRecipe(shape=SHAPE, n_scenes=192, expander_width=32, batch_size=32, course=TINY.course)
    made = train_net.make("pocket-net-ssl", tmp_path, cache_folder, recipe=replace(recipe))
    losses = made.log.column("loss")
    assert losses[-1] < losses[0]
    assert {"probe", "untrained_probe"} == set(made.scores)
    network, heads = load_network(made.folder)
    assert heads is None and network(torch.zeros(1, 3, 64, 64)).shape == (1, 16)
