"""The schema of a study: nothing passes unknown, everything is described, and it says what the classes say."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module, util
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from brainenc import datasets, encoders, features
from brainenc.core.types import DataError
from brainenc.features import layers
from brainenc.features.open_clip_text import TEXT_POOLINGS
from brainenc.features.sentence import SENTENCE_POOLINGS
from brainenc.stats import splits
from pipelines.study import OWN_FEATURE_KEYS, TRAINED, load_study, resolve_study, schema
from pipelines.study_keys import reference
from tests.pipelines.conftest import toy_config
from tests.workflow.snakemake_runs import ROOT

SPLITS = {"column": splits.by_column, "stimulus": splits.by_stimulus, "run": splits.by_run}
# What a step passes itself, and so no key of a study.
PASSED = {
    "dataset": set(),
    "split": {"table", "stimulus_ids", "runs", "groups"},
    "features": {"name"},
    "encoders": set(),
}
ADDED = {"dataset": set(), "split": set(), "features": set(OWN_FEATURE_KEYS), "encoders": {"features", "delays"}}


def classes(family: str) -> dict[str, str]:
    """Name in a study -> "module:Class"."""
    registry = {"dataset": datasets, "features": features, "encoders": encoders}[family].REGISTRY
    return registry | {name: encoders.TRAINED[name] for name in TRAINED if family == "encoders"}


def constructors() -> Iterator[Any]:
    for family in ("dataset", "features", "encoders"):
        for name, target in classes(family).items():
            yield pytest.param(family, name, target, id=f"{family}-{name}")
    for name, function in SPLITS.items():
        yield pytest.param("split", name, function, id=f"split-{name}")


def parameters(family: str, target: Any) -> dict[str, inspect.Parameter]:
    if isinstance(target, str):
        module, _, attribute = target.partition(":")
        if util.find_spec(module) is None:
            pytest.skip(f"{module} is not written yet")
        target = getattr(import_module(module), attribute, None)
        if target is None:
            pytest.skip(f"{module} is not whole yet")
    found = dict(inspect.signature(target).parameters)
    if any(p.kind is p.VAR_KEYWORD for p in found.values()):  # a class that passes its options on to its base
        for base in target.__mro__[1:]:
            found |= {n: p for n, p in inspect.signature(base).parameters.items() if base is not object}
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {n: p for n, p in found.items() if n not in PASSED[family] and p.kind not in variable}


def test_it_is_a_schema():
    Draft202012Validator.check_schema(schema())
    assert schema()["$schema"].endswith("2020-12/schema")


@pytest.mark.parametrize(("family", "name", "target"), constructors())
def test_keys_of_a_class_are_the_arguments_of_its_constructor(family, name, target):
    part = schema()["$defs"][f"{family}-{name}"]
    wanted = parameters(family, target)
    added = {"attention": {"features"}, "factorised": {"features", "degrees"}}.get(name, ADDED[family])
    assert set(part["properties"]) - {"class"} == set(wanted) | added
    needed = {n for n, p in wanted.items() if p.default is p.empty}
    assert set(part["required"]) - {"class"} == needed


POOLED = {
    "timm": ({"model": "resnet18", "random_weights": 0, "layer": "layer3"}, layers.POOLINGS),
    "open_clip": ({"model": "ViT-B-32", "random_weights": 0, "layer": "transformer.resblocks.3"}, layers.POOLINGS),
    "open_clip_text": ({"model": "ViT-B-32", "random_weights": 0}, TEXT_POOLINGS),
    "sentence": ({"layer": -1}, (*SENTENCE_POOLINGS, None)),
}


@pytest.mark.parametrize("name", POOLED)
def test_poolings_of_the_schema_are_those_of_the_class(name):
    arguments, known = POOLED[name]
    offered = schema()["$defs"][f"features-{name}"]["properties"]["pooling"]["enum"]
    assert set(offered) == set(known)
    for pooling in offered:
        features.build(name, "space", **arguments, pooling=pooling)
    with pytest.raises(DataError, match="pooling"):
        features.build(name, "space", **arguments, pooling="median")


def test_every_class_is_in_the_schema_and_no_other():
    for family in ("dataset", "features", "encoders"):
        part = schema()["properties"][family]
        part = part if family == "dataset" else part["additionalProperties"]
        assert set(part["properties"]["class"]["enum"]) == set(classes(family))
        assert {branch["then"]["$ref"].split("/")[-1] for branch in part["allOf"]} == {
            f"{family}-{name}" for name in classes(family)
        }


def objects(part: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of an object with named keys; the branches that choose a class are told apart by their path."""
    if isinstance(part, dict):
        if "properties" in part and not path.endswith("/if"):
            yield path, part
        for key, sub in part.items():
            yield from objects(sub, f"{path}/{key}")
    elif isinstance(part, list):
        for i, sub in enumerate(part):
            yield from objects(sub, f"{path}/{i}")


@pytest.mark.parametrize("path", [path for path, _ in objects(schema())])
def test_no_object_takes_unknown_keys_and_every_key_is_described(path):
    part = dict(objects(schema()))[path]
    for key, sub in part["properties"].items():
        assert key == "class" or sub.get("description", "").endswith("."), f"{path}: {key}"
    if "allOf" in part:
        # A class is chosen here; the schema it leads to is closed.
        for branch in part["allOf"]:
            assert schema()["$defs"][branch["then"]["$ref"].split("/")[-1]]["additionalProperties"] is False
    else:
        assert part["additionalProperties"] is False, path


@pytest.mark.parametrize("study", sorted((ROOT / "config").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_study_of_the_project_is_valid_and_resolving_changes_nothing_twice(study):
    resolved = load_study(study).config
    assert resolve_study(resolved).config == resolved
    given = yaml.safe_load(study.read_text())
    assert {key: resolved[key] for key in ("study", "subjects", "dataset")} == {
        key: given[key] for key in ("study", "subjects", "dataset")
    }


def test_defaults_are_filled_in_and_valid(tmp_path):
    given = toy_config(tmp_path, tmp_path)
    study = resolve_study(given).config
    assert "average" not in given["responses"] and study["responses"]["average"] is True
    assert study["features"]["a"]["batch_size"] == 64
    assert study["resources"] == {"threads": 1, "gpu": 0}
    for part in schema()["properties"].values():
        if "default" in part and "anyOf" not in part:
            Draft202012Validator({**part, "$defs": schema()["$defs"]}).validate(part["default"])


def test_the_readme_of_config_ends_in_the_printed_reference():
    text = (ROOT / "config" / "README.md").read_text(encoding="utf-8")
    assert text[text.index("## Study\n") :] == reference()
