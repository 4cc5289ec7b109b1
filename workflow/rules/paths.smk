# The one maker of paths: what a study is made of, and where each thing lies.
import json

from snakemake.exceptions import WorkflowError

from brainenc.core.types import DataError
from pipelines import page
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
ENVIRONMENT = "../envs/brainenc.yaml"


wildcard_constraints:
    subject="[A-Za-z0-9]+",
    encoder="[a-z0-9][a-z0-9-]*",
    features="[a-z0-9][a-z0-9+-]*",


def as_json(**slice_of_config):
    """The parameters of a step, as the one JSON argument that it takes."""
    return json.dumps(slice_of_config, sort_keys=True)


def subject_models(filename, models=MODELS):
    """A file of each model of a subject."""
    return [f"{SUBJECT}/{model}/{filename}" for model in models]


def all_subjects(pattern):
    """A subject's file, for every subject."""
    return expand(pattern, subject=STUDY.subjects, allow_missing=True)
