"""A toy study of known truth, run step by step through the functions that rules call.

60 stimuli, 3 repetitions, 24 voxels: the first 8 follow band ``a``, the next 8 band ``b``, the rest are noise, but for
one dead voxel and one with NaN; one trial is empty.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

N_STIMULI, N_REPETITIONS, N_TARGETS = 60, 3, 24
DEAD, BROKEN, EMPTY_ROW = 22, 23, 5


def write_toy(root: Path) -> None:
    """A folder data set: stimulus table, responses, samples and regions."""
    generator = np.random.default_rng(7)
    root.mkdir(parents=True)
    ids = [f"s{i:03d}" for i in range(N_STIMULI)]
    a, b = generator.normal(size=(2, N_STIMULI, 3))
    table = pd.DataFrame({"split": np.where(np.arange(N_STIMULI) < 45, "train", "test")}, index=ids)
    table.index.name = "stimulus_id"
    table[[f"a_{i}" for i in range(3)]], table[[f"b_{i}" for i in range(3)]] = a, b
    table["text"] = [f"stimulus number {i}" for i in range(N_STIMULI)]
    table.to_csv(root / "stimuli.tsv", sep="\t")
    signal = np.zeros((N_STIMULI, N_TARGETS))
    signal[:, :8] = a @ generator.normal(size=(3, 8))
    signal[:, 8:16] = b @ generator.normal(size=(3, 8))
    shown = np.concatenate([generator.permutation(N_STIMULI) for _ in range(N_REPETITIONS)])
    Y = signal[shown] + generator.normal(size=(len(shown), N_TARGETS))
    Y[:, DEAD], Y[7, BROKEN], Y[EMPTY_ROW] = 0.0, np.nan, np.nan
    np.save(root / "sub-01_responses.npy", Y.astype(np.float32))
    samples = {"stimulus_id": np.array(ids)[shown], "session": np.arange(len(shown)) // 60}
    pd.DataFrame(samples).to_csv(root / "sub-01_samples.tsv", sep="\t", index=False)
    regions = ["A"] * 8 + ["B"] * 8 + ["noise"] * 8
    pd.DataFrame({"region": regions}).to_csv(root / "sub-01_regions.tsv", sep="\t", index=False)


def toy_config(root: Path, results: Path) -> dict:
    return {
        "study": "toy",
        "results": str(results),
        "dataset": {"class": "folder", "root": str(root), "regions": "sub-{subject}_regions.tsv", "units": "a.u."},
        "subjects": ["01"],
        "split": {"class": "column"},
        "responses": {"within": "session", "detrend": 1, "zscore": True},
        "features": {
            "a": {"class": "table", "columns": ["a_*"]},
            "b": {"class": "table", "columns": ["b_*"], "pca": 2},
        },
        "encoders": {
            "ridge": {"class": "ridge", "features": ["a"], "n_alphas": 6, "device": "numpy"},
            "banded": {"class": "banded", "n_alphas": 6, "n_gammas": 5, "device": "numpy"},
        },
        "comparisons": [["banded/a+b", "ridge/a"]],
        "statistics": {"n_permutations": 99, "n_bootstrap": 100},
        "surface": {"mesh": None},
    }


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The study, its folder of results, and its subject's folder, all steps run."""
    from pipelines.study import resolve_study

    base = tmp_path_factory.mktemp("toy")
    write_toy(base / "data")
    study = resolve_study(toy_config(base / "data", base / "results"))
    run_steps(study)
    return SimpleNamespace(study=study, folder=study.folder, subject=study.folder / "sub-01", base=base)


def run_steps(study) -> None:
    """Every step of a one-subject study, in the order of the graph, with the parameters that the rules pass."""
    import json

    from pipelines.check_study import check_study
    from pipelines.clean_responses import clean_responses
    from pipelines.estimate_ceiling import estimate_ceiling
    from pipelines.export_maps import export_maps
    from pipelines.extract_features import extract_features
    from pipelines.fit_encoder import fit_encoder
    from pipelines.paint_maps import paint_maps
    from pipelines.partition_variance import partition_variance
    from pipelines.prepare_responses import prepare_responses
    from pipelines.prepare_stimuli import prepare_stimuli
    from pipelines.score_encoder import score_encoder
    from pipelines.split_samples import split_samples
    from pipelines.summarise_regions import summarise_regions
    from pipelines.write_report import write_report

    config = json.loads(json.dumps(study.config))
    folder, subject = study.folder, study.folder / "sub-01"
    average = {"average": config["responses"]["average"]}
    common = {**config["statistics"], **average, "floor": config["ceiling"]["floor"], "seed": config["seed"]}
    check_study(config, folder / "checked.json")
    prepare_stimuli(config["dataset"], folder / "stimuli.tsv")
    prepare_responses(config["dataset"], "01", subject / "responses-raw.h5", subject / "regions.h5")
    raw, responses, split = subject / "responses-raw.h5", subject / "responses.h5", subject / "split.tsv"
    split_samples(folder / "stimuli.tsv", raw, config["split"], split)
    clean_responses(raw, split, config["responses"], responses, subject / "quality.json")
    ceiling = subject / "ceiling.h5"
    estimate_ceiling(responses, split, {**config["ceiling"], **average}, ceiling)
    for name, entry in config["features"].items():
        output = folder / "features" / f"{name}.h5"
        extract_features(folder / "stimuli.tsv", name, {"seed": config["seed"], **entry}, output)
    models = study.models
    for model in models:
        here = subject / model.name
        parameters = {
            "encoder": config["encoders"][model.encoder],
            "features": {name: config["features"][name] for name in model.features},
            "seed": config["seed"],
            **average,
        }
        files = [folder / "features" / f"{name}.h5" for name in model.features]
        outputs = (here / "encoder.safetensors", here / "encoder.json", here / "predictions.safetensors")
        fit_encoder(responses, split, files, parameters, *outputs)
        score_encoder(responses, split, ceiling, outputs[2], common, here / "scores.h5")
    for joint in study.joint_models:
        here = subject / joint.name
        reduced = [subject / model.name / "scores.h5" for model in study.reduced(joint)]
        parameters = {"bands": list(joint.features), **average}
        files = (here / "predictions.safetensors", here / "scores.h5", reduced)
        partition_variance(responses, split, *files, parameters, here / "partition.h5")
    labels = [model.label for model in models]
    scores = [subject / model.name / "scores.h5" for model in models]
    predictions = [subject / model.name / "predictions.safetensors" for model in models]
    partitions = [subject / model.name / "partition.h5" for model in study.joint_models]
    cards = [subject / model.name / "encoder.json" for model in models]
    parameters = {**common, "models": labels, "comparisons": config["comparisons"]}
    tables = (subject / "regions.tsv", subject / "comparisons.tsv")
    regions = subject / "regions.h5"
    summarise_regions(responses, split, regions, ceiling, predictions, scores, parameters, *tables)
    parameters = {
        **config["surface"],
        "models": labels,
        "joint_models": [model.label for model in study.joint_models],
        "field_models": [],
        "floor": config["ceiling"]["floor"],
        "notes": study.pocket_notes,
    }
    paint_maps("01", regions, ceiling, scores, partitions, [], parameters, subject / "figures")
    parameters = {"models": labels, "study": config["study"], "notes": study.pocket_notes, **config["export"]}
    export_maps("01", ceiling, scores, cards, parameters, subject / "derivatives")
    write_report(config, folder / "report.html")
