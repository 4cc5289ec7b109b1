# The one maker of paths: what a study is made of, and where each thing lies.
import json

from snakemake.exceptions import WorkflowError

from brainenc.core.types import DataError
from pipelines import page
from pipelines.fingerprints import data_fingerprint, entry_fingerprint
from pipelines.study import resolve_study

try:
    STUDY = resolve_study(config)
except DataError as error:
    raise WorkflowError(str(error)) from None

FOLDER = str(STUDY.folder)
SUBJECT = f"{FOLDER}/sub-{{subject}}"
MODEL = f"{SUBJECT}/encoder-{{encoder}}_features-{{features}}"
LOG = f"{FOLDER}/logs"
TIMES = f"{FOLDER}/benchmarks"
MODELS = [model.name for model in STUDY.models]
JOINT_MODELS = [model.name for model in STUDY.joint_models]
LOOKING_MODELS = [model.name for model in STUDY.looking_models]
FIELD_MODELS = [model.name for model in STUDY.field_models]
ENVIRONMENT = "../envs/brainenc.yaml"


wildcard_constraints:
    subject="[A-Za-z0-9]+",
    encoder="[a-z0-9][a-z0-9-]*",
    features="[a-z0-9][a-z0-9+-]*",


def one_of(names):
    """A wildcard's constraint: these names and no other."""
    return "|".join(names) or "(?!)"


def as_json(**slice_of_config):
    """The parameters of a step, as the one JSON argument that it takes.

    A function, since Snakemake would read a {pattern} in a plain string as a wildcard.
    """
    return lambda wildcards: json.dumps(slice_of_config, sort_keys=True)


def memory(least, factor):
    """Megabytes of a job: so many times its inputs, and no less than ``least``."""
    return lambda wildcards, input: max(least, int(factor * input.size_mb) + 1000)


def subject_models(filename, models=MODELS):
    """A file of each model of a subject."""
    return [f"{SUBJECT}/{model}/{filename}" for model in models]


def all_subjects(pattern):
    """A subject's file, for every subject."""
    return expand(pattern, subject=STUDY.subjects, allow_missing=True)


def model_features(wildcards):
    """Feature files of a model, in the order of its bands."""
    return [f"{FOLDER}/features/{name}.h5" for name in wildcards.features.split("+")]


def model_parameters(wildcards):
    """The encoder's entry, its feature spaces' entries, and what decides its samples."""
    config = STUDY.config
    bands = wildcards.features.split("+")
    slice_of_config = as_json(
        encoder=config["encoders"][wildcards.encoder],
        features={name: config["features"][name] for name in bands},
        average=config["responses"]["average"],
        seed=config["seed"],
    )
    return slice_of_config(wildcards)


def field_parameters(wildcards):
    """Width of the picture, and what counts as predicted."""
    degrees = STUDY.config["encoders"][wildcards.encoder].get("degrees")
    fdr = STUDY.config["statistics"]["fdr"]
    return as_json(degrees=degrees, fdr=fdr)(wildcards)


def band_parameters(wildcards):
    """Bands of a joint model."""
    average = STUDY.config["responses"]["average"]
    return as_json(bands=wildcards.features.split("+"), average=average)(wildcards)


def feature_parameters(wildcards):
    """A feature space's entry, and the seed of its projection."""
    entry = STUDY.config["features"][wildcards.features]
    return as_json(seed=STUDY.config["seed"], **entry)(wildcards)


def reduced_scores(wildcards):
    """Scores of the joint model without one band, in the order of its bands."""
    bands = wildcards.features.split("+")
    without = ["+".join(b for b in bands if b != band) for band in bands]
    return [
        f"{SUBJECT}/encoder-{wildcards.encoder}_features-{rest}/scores.h5"
        for rest in without
    ]


def recovery_tables():
    """Planted data carry their truth: what was recovered belongs into the report."""
    planted = STUDY.config["dataset"]["class"] == "planted"
    return all_subjects(f"{SUBJECT}/recovery.tsv") if planted else []
