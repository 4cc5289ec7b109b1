"""A study: its YAML checked against the schema, defaults filled in, and the names of all its models.

This page knows configuration and paths only, so that the workflow can import it in milliseconds.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from brainenc.core.share import find_shared
from brainenc.core.types import DataError

# Keys of an entry that steps use themselves; the rest are the arguments of the class.
OWN_FEATURE_KEYS = ("pca", "projection", "batch_size")
OWN_ENCODER_KEYS = ("features", "delays", "degrees")
# Encoders trained by gradient on tokens: the step fit_readout fits them, fit_encoder all others.
TRAINED = ("attention", "factorised")


@dataclass(frozen=True)
class Model:
    """One fitted thing: an encoder on one feature space, or on several as bands."""

    encoder: str
    features: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"encoder-{self.encoder}_features-{'+'.join(self.features)}"

    @property
    def label(self) -> str:
        """How users write it: ``ridge/energy``, ``banded/energy+scene``."""
        return f"{self.encoder}/{'+'.join(self.features)}"


@dataclass(frozen=True)
class Study:
    """A validated study; ``config`` is the resolved configuration."""

    config: dict[str, Any]

    @property
    def folder(self) -> Path:
        return Path(self.config["results"]) / self.config["study"]

    @property
    def subjects(self) -> list[str]:
        return list(self.config["subjects"])

    @property
    def models(self) -> list[Model]:
        """Every model that is fitted: those asked for, then those that variance partitioning needs."""
        return list(dict.fromkeys([*self._asked(), *(m for joint in self.joint_models for m in self.reduced(joint))]))

    @property
    def joint_models(self) -> list[Model]:
        """Banded models of two bands or more: their variance is partitioned."""
        return [model for model in self._asked() if len(model.features) > 1]

    @property
    def trained(self) -> list[str]:
        """Names of the encoders that are trained by gradient."""
        return [name for name, encoder in self.config["encoders"].items() if encoder["class"] in TRAINED]

    @property
    def looking_models(self) -> list[Model]:
        """Models with attention: where they look can be drawn."""
        return [m for m in self.models if self.config["encoders"][m.encoder]["class"] == "attention"]

    @property
    def field_models(self) -> list[Model]:
        """Models with a Gaussian receptive field per target: where they look can be painted."""
        return [m for m in self.models if self.config["encoders"][m.encoder].get("readout") == "gaussian"]

    @property
    def pocket_notes(self) -> dict[str, str]:
        """What must stand beside every result of a model on pocket networks, by the model's label."""
        notes = {}
        for model in self.models:
            entries = [self.config["features"][space] for space in model.features]
            trained = [str(entry.get("model")) for entry in entries if entry.get("random_weights") is None]
            pocket = [name for name in dict.fromkeys(trained) if name.startswith("pocket-")]
            if pocket:
                what = "a pocket network" if len(pocket) == 1 else "pocket networks"
                notes[model.label] = f"Features of {' and '.join(pocket)}, {what}: small, trained on drawn scenes."
        return notes

    def reduced(self, joint: Model) -> list[Model]:
        """The joint model without one band, for each of its bands."""
        bands = joint.features
        return [Model(joint.encoder, tuple(b for b in bands if b != band)) for band in bands]

    @property
    def comparisons(self) -> list[tuple[Model, Model]]:
        by_label = {model.label: model for model in self.models}
        return [(by_label[a], by_label[b]) for a, b in self.config["comparisons"]]

    def _asked(self) -> Iterator[Model]:
        for name, encoder in self.config["encoders"].items():
            spaces = tuple(encoder.get("features", self.config["features"]))
            if encoder["class"] == "banded":
                yield Model(name, spaces)
            else:
                yield from (Model(name, (space,)) for space in spaces)


def compact_label(label: str) -> str:
    """``banded/energy+scene`` as ``bandedEnergyScene``: BIDS names allow letters and digits only."""
    first, *rest = re.findall(r"[A-Za-z0-9]+", label)
    return first + "".join(word[0].upper() + word[1:] for word in rest)


def class_and_arguments(entry: dict[str, Any], *own: str) -> tuple[str, dict[str, Any]]:
    """An entry's class and its constructor's arguments, without the keys that the steps themselves use."""
    return entry["class"], {key: value for key, value in entry.items() if key not in ("class", *own)}


def load_study(path: Path | str) -> Study:
    """Read, validate and resolve a study YAML; every fault is one `DataError` naming the key and the cure."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"study file {path} does not exist: pass the path of a study YAML, such as config/config.yaml.")
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is not valid YAML ({reason}): mend the indentation or quoting there.") from error
    if not isinstance(config, dict):
        raise DataError(f"{path} holds {type(config).__name__}, wanted a mapping of keys: see config/README.md.")
    return resolve_study(config)


class _UniqueKeys(yaml.SafeLoader):
    """Safe YAML in which a key may not be written twice: the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        repeated = next((key for key, _ in node.value if keys.count(key.value) > 1), None)
        if repeated is not None:
            place = f"the key {repeated.value!r} is written twice"
            raise yaml.constructor.ConstructorError(place, repeated.start_mark, None, None)
        return super().construct_mapping(node, deep)


def resolve_study(config: dict[str, Any]) -> Study:
    """Validate a configuration, fill in the defaults of the schema, and check what names refer to."""
    from jsonschema import Draft202012Validator

    errors = sorted(
        Draft202012Validator(schema()).iter_errors(config), key=lambda e: (len(e.path), list(map(str, e.path)))
    )
    if errors:
        raise DataError(_sentence(errors[0]))
    resolved = _with_defaults(schema(), copy.deepcopy(config))
    study = Study(resolved)
    _check_names(study)
    return study


@lru_cache(1)
def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a study."""
    return dict(json.loads(find_shared("workflow/schemas/study.schema.json").read_text(encoding="utf-8")))


def _with_defaults(part: dict[str, Any], value: Any) -> Any:
    if "$ref" in part:
        part = {**_definition(part["$ref"]), **part}
    if not isinstance(value, dict):
        return value
    for key, sub in part.get("properties", {}).items():
        if key not in value and "default" in sub:
            value[key] = copy.deepcopy(sub["default"])
        if key in value:
            value[key] = _with_defaults(sub, value[key])
    extra = part.get("additionalProperties")
    if isinstance(extra, dict):
        for key in value:
            if key not in part.get("properties", {}):
                value[key] = _with_defaults(extra, value[key])
    return value


def _definition(reference: str) -> dict[str, Any]:
    node: Any = schema()
    for step in reference.removeprefix("#/").split("/"):
        node = node[step]
    return dict(node)


def _sentence(error: Any) -> str:
    """One sentence for a schema error: key, what came, what was wanted, cure."""
    while error.validator == "anyOf" and error.context:
        # Of several kinds that are allowed, the one that fits deepest is the one that was meant.
        error = max(error.context, key=lambda inner: len(inner.path))
    key = ".".join(str(part) for part in error.absolute_path)
    where = f"study key {key}" if key else "study"
    if error.validator == "additionalProperties" or error.validator == "unevaluatedProperties":
        allowed = sorted(error.schema.get("properties", {}))
        unknown = sorted(set(error.instance) - set(allowed))
        return f"{where}: unknown key {unknown[0]!r}; wanted one of {allowed}: correct or remove it."
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"{where}: required key {missing[0]!r} is missing: add it (see config/README.md)."
    if error.validator == "enum":
        return f"{where}: got {error.instance!r}, wanted one of {error.validator_value}: correct it."
    if error.validator in ("pattern", "propertyNames"):
        return (
            f"{where}: name {error.instance!r} is not allowed, wanted lower-case letters, digits and hyphens "
            "(it names files): rename it."
        )
    if error.validator == "type":
        kind, cure = type(error.instance).__name__, "correct its type"
        if error.validator_value == "string" and isinstance(error.instance, (int, float)):
            cure = "put it in quotes"
        return f"{where}: got {error.instance!r} ({kind}), wanted {error.validator_value}: {cure}."
    if error.validator == "minItems":
        return f"{where}: got {error.instance!r}, wanted at least {error.validator_value}: add to the list."
    if error.validator == "contains":
        return f"{where}: got {error.instance!r}, wanted {error.validator_value['const']!r} among them: add it."
    return f"{where}: {error.message}: see config/README.md for this key."


def _check_names(study: Study) -> None:
    config = study.config
    repeated = sorted({s for s in study.subjects if study.subjects.count(s) > 1})
    if repeated:
        raise DataError(f"study key subjects: {repeated[0]!r} is listed twice, wanted each subject once: remove one.")
    for name, encoder in config["encoders"].items():
        spaces = encoder.get("features", [])
        for space in spaces:
            if spaces.count(space) > 1:
                raise DataError(f"study key encoders.{name}.features: {space!r} is listed twice: remove one.")
            if space not in config["features"]:
                raise DataError(
                    f"study key encoders.{name}.features: {space!r} is no feature space of this study "
                    f"(it has {sorted(config['features'])}): define it under features or correct the name."
                )
        if encoder.get("delays") and config["responses"]["average"]:
            raise DataError(
                f"study key encoders.{name}.delays: delays need a time series, but responses.average is true, "
                "which merges samples: set responses.average to false."
            )
        if encoder.get("delays") and config["statistics"]["block"] == 1:
            raise DataError(
                f"study key statistics.block: got 1, but encoders.{name}.delays says that rows are a time series, "
                "whose neighbours share noise: set it to the samples of 20 seconds or more, such as 10."
            )
    for model in study.models:
        if model.encoder in study.trained:
            _check_tokens(model, config["encoders"][model.encoder], config["features"][model.features[0]])
    labels = {model.label for model in study.models}
    compact: dict[str, str] = {}
    for label in sorted(labels):
        other = compact.setdefault(compact_label(label), label)
        if other != label:
            raise DataError(
                f"study key encoders: models {other!r} and {label!r} would both be exported as "
                f"{compact_label(label)!r}: rename an encoder or a feature space."
            )
    split = config["split"]
    if config["ceiling"]["rows"] == "train" and (split["class"] == "run" or split.get("n_folds")):
        raise DataError(
            "study key ceiling.rows: got 'train', but a cross-validation tests every sample, so none only trains: "
            "use 'auto' or 'all'."
        )
    for pair in config["comparisons"]:
        for label in pair:
            if label not in labels:
                raise DataError(
                    f"study key comparisons: {label!r} is no model of this study, wanted one of {sorted(labels)}: "
                    "write encoder/features."
                )


def _check_tokens(model: Model, encoder: dict[str, Any], entry: dict[str, Any]) -> None:
    """A trained encoder looks at maps of tokens, as they were extracted."""
    key, space = f"study key encoders.{model.encoder}.features", model.features[0]
    if entry["class"] in ("timm", "open_clip") and entry.get("pooling") != "tokens":
        raise DataError(
            f"{key}: {space!r} is one vector per picture, but this encoder looks at tokens: name a feature space with "
            "pooling 'tokens'."
        )
    if entry["class"] not in ("timm", "open_clip", "gabor", "pixels", "array"):
        raise DataError(
            f"{key}: {space!r} is of class {entry['class']!r}, which has no tokens: name a feature space of class "
            "timm, open_clip, gabor, pixels or array."
        )
    if entry["class"] == "pixels" and not encoder.get("core_widths"):
        raise DataError(
            f"{key}: {space!r} is the picture itself, which needs an encoder with its own core: give core_widths to an "
            "encoder of class factorised, or name a feature space with tokens."
        )
    for name in ("pca", "projection"):
        if entry.get(name):
            raise DataError(
                f"{key}: {space!r} has {name!r}, which would mix the tokens: define the feature space once more "
                "without."
            )
