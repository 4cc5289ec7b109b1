"""A real network on real pictures: ImageNet MobileNetV2 separates the eleven categories of the fLoc localiser.

Stigliani, Weiner & Grill-Spector 2015, doi:10.1523/JNEUROSCI.4822-14.2015.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainenc.core.types import StimulusSet
from brainenc.features import build, build_reduction

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
PICTURES = DATA / "images" / "floc"
WEIGHTS = DATA / "weights" / "mobilenet_v2_imagenet" / "timm_mobilenetv2_100_same_imagenet1001.safetensors"
pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(not (PICTURES.is_dir() and WEIGHTS.is_file()), reason=f"no pictures or weights in {DATA}"),
]


@pytest.fixture(scope="module")
def stimuli() -> StimulusSet:
    paths = sorted(p for p in PICTURES.glob("*/*") if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    table = pd.DataFrame({"path": [str(p) for p in paths], "label": [p.parent.name for p in paths]})
    return StimulusSet(table.set_index(pd.Index([f"{p.parent.name}/{p.stem}" for p in paths], name="stimulus_id")))


@pytest.fixture(scope="module")
def mobilenet():
    return build(
        "timm",
        "mobilenet",
        model="mobilenetv2_100",
        checkpoint=str(WEIGHTS),
        model_kwargs={"pad_type": "same", "num_classes": 1001},
        mean=[0.5, 0.5, 0.5],
        std=[0.5, 0.5, 0.5],
    )


@pytest.fixture(scope="module")
def features(mobilenet, stimuli) -> np.ndarray:
    return np.concatenate(list(mobilenet.extract(stimuli, batch_size=22)))


def nearest_neighbour_accuracy(X: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows whose most correlated other row has their label."""
    similarity = np.corrcoef(X)
    np.fill_diagonal(similarity, -np.inf)
    return float((labels[similarity.argmax(axis=1)] == labels).mean())


def test_categories_separate(features, stimuli):
    labels = stimuli.table["label"].to_numpy()
    assert features.shape == (220, 1280)
    assert len(set(labels)) == 11
    accuracy = nearest_neighbour_accuracy(features, labels)
    print(f"1-nearest-neighbour accuracy {accuracy:.3f} over {len(labels)} pictures")
    assert accuracy > 0.75
    reduced = build_reduction("pca", n_components=50).fit(features).transform(features)
    assert nearest_neighbour_accuracy(reduced, labels) > 0.75


def test_an_untrained_network_separates_them_less(features, stimuli, mobilenet):
    labels = stimuli.table["label"].to_numpy()
    untrained = build("timm", "untrained", model="mobilenetv2_100", random_weights=0, size=112)
    control = np.concatenate(list(untrained.extract(stimuli, batch_size=44)))
    shuffled = np.random.default_rng(0).permutation(labels)
    assert nearest_neighbour_accuracy(features, shuffled) < 0.25
    assert nearest_neighbour_accuracy(control, labels) < nearest_neighbour_accuracy(features, labels) - 0.1


def test_the_network_names_what_it_sees(stimuli, mobilenet):
    """The whole path is right, preprocessing included: cars are called cars by the classifier."""
    names = (WEIGHTS.parent / "imagenet_labels.txt").read_text().splitlines()
    head = build("timm", "head", **mobilenet.arguments | {"layer": "head"})
    cars = stimuli.select([i for i in stimuli.ids if i.startswith("car/")])
    logits = np.concatenate(list(head.extract(cars)))
    top = [" ".join(names[k] for k in row.argsort()[-5:]) for row in logits]
    vehicle = ("car", "cab", "wagon", "convertible", "limousine", "jeep", "racer", "minivan", "pickup", "grille")
    assert np.mean([any(word in text for word in vehicle) for text in top]) > 0.75
