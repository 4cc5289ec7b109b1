"""The networks in the package: their files are those of their cards, and they do what the cards say on fresh scenes.

A card's scores come from thousands of held-out scenes. Here some are drawn anew and scored again: a floor must hold to
within three standard errors of the smaller number of scenes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainenc import pocket
from brainenc.core.provenance import file_hash
from brainenc.core.storage import read_json
from brainenc.pocket import captioner_scores, clip_scores, net_scores
from brainenc.pocket.clip_model import DESIGNS, load_clip
from brainenc.pocket.image_net import load_network
from brainenc.pocket.scenes_cache import open_scenes

pytestmark = pytest.mark.slow
WEIGHTS = Path(pocket.__file__).parent / "weights"
SHIPPED = sorted(path.parent.name for path in WEIGHTS.glob("*/card.json"))
N_SCENES = 1_000
# Floors that a shipped network does not reach yet: said on its card and in docs/pocket.md. An entry that is no longer
# true fails.
MISSED: dict[str, list[str]] = {
    "pocket-captioner": ["image_pair_noun", "text_pair_noun"],
    "pocket-diffusion": ["prompted", "novel"],
}


def shipped(name: str) -> Path:
    """Folder of a network; skips where this version has none."""
    if name not in SHIPPED:
        pytest.skip(f"{name} has no weights yet")
    return pocket.folder(name)


def holds(scores: dict[str, float], floors: dict[str, float], n_scenes: dict[str, int]) -> list[str]:
    """Floors that are missed by more than chance allows."""
    missed = []
    for name, floor in floors.items():
        error = np.sqrt(floor * (1 - floor) / n_scenes[name])
        if scores[name] < floor - 3 * error:
            missed.append(f"{name} {scores[name]:.3f} below {floor} by more than three errors of {error:.3f}")
    return missed


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_scenes(tmp_path_factory.mktemp("scenes"), "test", N_SCENES)


@pytest.mark.parametrize("name", SHIPPED)
def test_files_are_those_of_the_card_and_no_floor_is_missed(name: str) -> None:
    folder = WEIGHTS / name
    card = read_json(folder / "card.json")
    assert card["name"] == name and card["licence"] == "BSD-3-Clause"
    assert {str(p.relative_to(folder)) for p in folder.rglob("*.safetensors")} == set(card["sha256"])
    for file, digest in card["sha256"].items():
        assert file_hash(folder / file) == digest
    assert card["below_floor"] == MISSED.get(name, [])
    assert not list(folder.rglob("*.bin")) and not list(folder.rglob("*.pt")), "weights are safetensors alone"
    if card["steps"] is not None:
        assert card["data"]["first_seed"] == 1_000_000
        assert (folder / "log.csv").read_text().splitlines()[-1].startswith(f"{card['steps']},")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_document_says_what_the_card_says(name: str) -> None:
    text = (Path(pocket.__file__).parents[2] / "docs" / "pocket.md").read_text(encoding="utf-8")
    (row,) = (
        line
        for line in text.splitlines()
        if line.startswith(f"| `{name}` |") and "floor" in line or line.startswith(f"| `{name}` | none")
    )
    card = read_json(WEIGHTS / name / "card.json")
    scores = {f"{value:.3f}".lstrip("0") for value in card["scores"].values()}
    stated = set(re.findall(r"(?<![\d(])\.\d{3}\b", row))
    assert stated and stated <= scores
    assert card["minutes"] is None or f"{card['minutes']} minutes" in row
    assert all("below its floor" in row for _ in card["below_floor"])


def test_all_weights_together_stay_small() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*.safetensors")) <= 20e6


@pytest.mark.parametrize("name", list(DESIGNS))
def test_a_clip_understands_fresh_scenes(name: str, scenes: Any) -> None:
    model, tokenizer = load_clip(shipped(name))
    layer = DESIGNS[name].token_layer
    scores = clip_scores.score_clip(model, tokenizer, scenes, layer, np.random.default_rng(0))
    n_scenes = {score: int(scores[f"n_{score.removesuffix('_1')}"]) for score in clip_scores.FLOORS}
    reached = {score: floor for score, floor in clip_scores.FLOORS.items() if score not in MISSED.get(name, [])}
    assert holds(scores, reached, n_scenes) == []
    assert scores["position"] > 0.5, "tokens tell where the thing is"
    blind = {**scores, "colour": 0.8}
    assert holds(blind, clip_scores.FLOORS, n_scenes), "a network that misses the floor must be seen"


def test_the_image_network_names_fresh_scenes() -> None:
    network, heads = load_network(shipped("pocket-net"))
    scores = net_scores.net_scores(network, heads, 60)
    assert holds(scores, net_scores.FLOORS, dict.fromkeys(net_scores.FLOORS, 420)) == []


def test_the_captioner_names_fresh_scenes() -> None:
    from brainenc.pocket.captioner import load_captioner

    captioner = load_captioner(shipped("pocket-captioner"))
    clip, _ = load_clip(shipped("pocket-clip"))
    scores = captioner_scores.captioner_scores(captioner, clip, 30, 210)
    missed = MISSED.get("pocket-captioner", [])
    floors = {name: floor for name, floor in captioner_scores.FLOORS.items() if name not in missed}
    assert holds(scores, floors, dict.fromkeys(floors, 210)) == []


def test_the_generator_draws_what_it_is_asked_for() -> None:
    """Thirty pictures of each category, judged by pocket-net; a generator that is deaf to its prompt must be seen."""
    from brainenc.pocket import diffusion_scores
    from brainenc.pocket.image_generator import load_generator
    from brainenc.world.scenes import CATEGORIES

    generator = load_generator(shipped("pocket-diffusion"))
    generator.set_progress_bar_config(disable=True)
    judge = net_scores.Judge.load(shipped("pocket-net"))
    pictures = {
        name: diffusion_scores.sample(generator, diffusion_scores.prompts_of(name, 30), 70_000 + 1_000 * i)
        for i, name in enumerate(CATEGORIES)
    }
    scores = diffusion_scores.content_agreement(pictures, judge)
    scores["unprompted_clean"] = diffusion_scores.clean_share(
        diffusion_scores.sample(generator, [""] * 60, 90_000), judge
    )
    n_scenes = {"prompted_worst": 30, "unprompted_clean": 60}
    floors = {name: diffusion_scores.FLOORS[name] for name in n_scenes}
    assert holds(scores, floors, n_scenes) == []
    assert scores["prompted"] > 0.85
    deaf = dict(zip(pictures, list(pictures.values())[1:] + [pictures[CATEGORIES[0]]], strict=True))
    assert diffusion_scores.content_agreement(deaf, judge)["prompted"] < 0.2
