"""Malformed studies: `brainenc check` says in one sentence what is wrong and how to mend it, before any fitting.

Each case is the toy with one thing broken, in the study (as text or as mapping) or in the data folder.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from pipelines.cli import main
from tests.pipelines.conftest import N_TARGETS, toy_config, write_toy

CASES: dict[str, tuple[Callable[[dict[str, Any], Path], Any], list[str]]] = {}
ROWS = 180
RESPONSES, SAMPLES, REGIONS = "sub-01_responses.npy", "sub-01_samples.tsv", "sub-01_regions.tsv"


def case(*said: str) -> Callable[[Any], Any]:
    """Register a mutation ``(config, root) -> None, or the text of the study``, and what the sentence has to say."""

    def register(mutate: Any) -> Any:
        name = mutate.__name__
        assert name not in CASES, name
        CASES[name] = (mutate, list(said))
        return mutate

    return register


def edit(path: Path, change: Callable[[pd.DataFrame], Any]) -> None:
    """Rewrite a table; ``change`` returns another one or changes it in place."""
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    changed = change(table)
    (table if changed is None else changed).to_csv(path, sep="\t", index=False)


def resave(root: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    np.save(root / RESPONSES, change(np.load(root / RESPONSES)))


def add_pictures(config: dict[str, Any], root: Path) -> None:
    """Every stimulus a picture, and a feature space that looks at it."""
    edit(root / "stimuli.tsv", lambda t: t.assign(path=[f"{name}.png" for name in t["stimulus_id"]]))
    for i, name in enumerate(pd.read_csv(root / "stimuli.tsv", sep="\t")["stimulus_id"]):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(root / f"{name}.png")
    config["features"]["energy"] = {"class": "gabor"}
    config["encoders"]["banded"]["features"] = ["a", "b"]


# ------------------------------------------------------------------------------------------------ the study as text


@case("study.yaml", "not valid YAML")
def yaml_syntax_error(config, root):
    return "study: toy\nfeatures: {a: [unclosed\n"


@case("study.yaml", "mapping")
def empty_yaml(config, root):
    return ""


@case("study.yaml", "mapping")
def yaml_that_is_a_list(config, root):
    return "- study\n- toy\n"


@case("study.yaml", "not valid YAML")
def yaml_with_tab_indentation(config, root):
    return "study: toy\nfeatures:\n\ta: 1\n"


@case("subjects.0", "1 (int)", "string", "put it in quotes")
def subject_without_quotes(config, root):
    return yaml.safe_dump(config).replace("- '01'", "- 01")


@case("study.yaml", "not valid YAML")
def yaml_that_is_not_text(config, root):
    return b"\x89PNG\r\n\x1a\n\xff\xfe"


@case("study.yaml", "features", "twice")
def key_written_twice(config, root):
    return yaml.safe_dump(config) + "features: {a: {class: table, columns: [a_0]}}\n"


# ---------------------------------------------------------------------------------------------- the study as mapping


@case("unknown key 'ridge'", "wanted one of")
def unknown_top_level_key(config, root):
    config["ridge"] = {}


@case("study key responses", "unknown key 'zscored'", "zscore")
def unknown_key_in_a_section(config, root):
    config["responses"]["zscored"] = True


@case("features.a", "unknown key 'column'", "columns")
def unknown_argument_of_a_feature_class(config, root):
    config["features"]["a"]["column"] = "a_0"


@case("encoders.ridge", "unknown key 'alpha'", "alphas")
def unknown_argument_of_an_encoder(config, root):
    config["encoders"]["ridge"]["alpha"] = 1.0


@case("dataset", "unknown key 'path'", "root")
def unknown_argument_of_a_data_set(config, root):
    config["dataset"]["path"] = "elsewhere"


@case("split", "unknown key 'share'", "test_share")
def unknown_argument_of_a_split(config, root):
    config["split"] = {"class": "stimulus", "share": 0.2}


@case("features.a.class", "'clip'", "open_clip")
def unknown_feature_class(config, root):
    config["features"]["a"]["class"] = "clip"


@case("encoders.ridge.class", "'lasso'", "banded")
def unknown_encoder_class(config, root):
    config["encoders"]["ridge"]["class"] = "lasso"


@case("dataset.class", "'nsd'", "folder")
def unknown_dataset_class(config, root):
    config["dataset"]["class"] = "nsd"


@case("required key 'split'", "add it")
def missing_section(config, root):
    del config["split"]


@case("features.a", "required key 'columns'")
def missing_argument(config, root):
    del config["features"]["a"]["columns"]


@case("features.a", "required key 'class'")
def missing_class(config, root):
    del config["features"]["a"]["class"]


@case("responses.zscore", "'yes'", "boolean")
def wrong_type(config, root):
    config["responses"]["zscore"] = "yes"


@case("features.a", "got None (NoneType)", "object")
def feature_space_without_a_value(config, root):
    config["features"]["a"] = None


@case("seed", "-1", "minimum")
def negative_seed(config, root):
    config["seed"] = -1


@case("features", "'a/b'", "rename")
def feature_name_that_is_a_path(config, root):
    config["features"]["a/b"] = config["features"].pop("a")


@case("study key study", "'../toy'")
def study_name_that_leaves_the_folder(config, root):
    config["study"] = "../toy"


@case("subjects", "'02'", "01")
def unknown_subject(config, root):
    config["subjects"] = ["01", "02"]


@case("subjects", "'01'", "twice")
def repeated_subject(config, root):
    config["subjects"] = ["01", "01"]


@case("subjects", "at least 1")
def no_subject(config, root):
    config["subjects"] = []


@case("encoders.ridge.features", "'c'", "define it under features")
def unknown_feature_space_in_an_encoder(config, root):
    config["encoders"]["ridge"]["features"] = ["c"]


@case("encoders.banded.features", "'a'", "twice")
def repeated_feature_space_in_an_encoder(config, root):
    config["encoders"]["banded"]["features"] = ["a", "a"]


@case("comparisons", "'ridge/b'", "ridge/a")
def unknown_comparison_label(config, root):
    config["comparisons"] = [["banded/a+b", "ridge/b"]]


@case("comparisons.0")
def comparison_of_one(config, root):
    config["comparisons"] = [["ridge/a"]]


@case("encoders.ridge.alphas.0", "-1.0", "minimum of 0")
def negative_alpha(config, root):
    config["encoders"]["ridge"]["alphas"] = [-1.0, 1.0]


@case("encoders.ridge", "n_folds", "1", "2")
def one_inner_fold(config, root):
    config["encoders"]["ridge"]["n_folds"] = 1


@case("encoders.banded", "gammas", "sum 1")
def band_weights_that_do_not_sum_to_one(config, root):
    config["encoders"]["banded"]["gammas"] = [[0.5, 0.9]]


@case("encoders.ridge.delays", "responses.average")
def delays_with_averaging(config, root):
    config["encoders"]["ridge"]["delays"] = [1, 2]


@case("encoders.ridge.delays", "'run'", "add it")
def delays_without_runs(config, root):
    config["encoders"]["ridge"]["delays"] = [1, 2]
    config["responses"]["average"] = False
    config["statistics"]["block"] = 10


@case("statistics.block", "encoders.ridge.delays", "set it")
def time_series_whose_rows_are_permuted_singly(config, root):
    config["encoders"]["ridge"]["delays"] = [1, 2]
    config["responses"]["average"] = False


@case("split (subject 01)", "single run", "at least three")
def two_runs_of_which_one_is_left_out(config, root):
    samples = pd.read_csv(root / "sub-01_samples.tsv", sep="\t")
    samples["run"] = (samples["stimulus_id"] > "s030").astype(int)
    samples.to_csv(root / "sub-01_samples.tsv", sep="\t", index=False)
    config["split"] = {"class": "run"}


@case("ceiling.rows", "'train'", "'auto'")
def a_ceiling_from_training_samples_that_do_not_exist(config, root):
    config["split"] = {"class": "stimulus", "n_folds": 5}
    config["ceiling"] = {"rows": "train"}


@case("split (subject 01)", "tests 2 samples", "fewer folds")
def folds_of_two_samples(config, root):
    kept = pd.read_csv(root / "sub-01_samples.tsv", sep="\t").iloc[:20]
    kept["stimulus_id"] = [f"s{i:03d}" for i in range(20)]
    kept.to_csv(root / "sub-01_samples.tsv", sep="\t", index=False)
    np.save(root / "sub-01_responses.npy", np.load(root / "sub-01_responses.npy")[:20])
    config["split"] = {"class": "stimulus", "n_folds": 10}


@case("surface.mesh", "'fsaverag5'", "fsaverage5")
def unknown_mesh(config, root):
    config["surface"]["mesh"] = "fsaverag5"


@case("surface.mesh", "lh.white")
def mesh_file_that_is_missing(config, root):
    config["surface"]["mesh"] = {"name": "mine", "left": {"white": "lh.white"}, "right": {"white": "rh.white"}}


@case("surface.formats.1", "'jpeg'", "png")
def unknown_picture_format(config, root):
    config["surface"]["formats"] = ["png", "jpeg"]


@case("surface.formats", "['svg']", "'png' among them")
def picture_formats_without_what_the_report_shows(config, root):
    config["surface"]["formats"] = ["svg"]


@case("features.stored.pca", "45", "at most 44", "lower")
def more_components_than_training_stimuli(config, root):
    np.save(root / "stored.npy", np.random.default_rng(0).normal(size=(60, 50)).astype(np.float32))
    files = {"path": str(root / "stored.npy"), "ids_table": str(root / "stimuli.tsv")}
    config["features"]["stored"] = {"class": "array", "pca": 45, **files}
    config["encoders"]["banded"]["features"] = ["a", "b"]


@case("'b'", "pca", "3 columns", "lower")
def more_components_than_columns(config, root):
    config["features"]["b"]["pca"] = 4


# --------------------------------------------------------------------------------------------------- files that are not


@case("no-such-folder", "root")
def missing_data_folder(config, root):
    config["dataset"]["root"] = str(root / "no-such-folder")


@case("stimuli.tsv", "no such file")
def missing_stimulus_table(config, root):
    (root / "stimuli.tsv").unlink()


@case("{subject}_responses", "no file fits")
def missing_responses(config, root):
    (root / RESPONSES).unlink()


@case(SAMPLES, "no such file")
def missing_samples_table(config, root):
    (root / SAMPLES).unlink()


@case(REGIONS, "no such file")
def missing_regions(config, root):
    (root / REGIONS).unlink()


@case("s010.png", "missing")
def missing_image(config, root):
    add_pictures(config, root)
    (root / "s010.png").unlink()


@case("weights.safetensors", "checkpoint", "does not exist")
def missing_checkpoint(config, root):
    add_pictures(config, root)
    config["features"]["net"] = {"class": "timm", "model": "resnet18", "checkpoint": str(root / "weights.safetensors")}


@case("'net'", "no source of weights", "random_weights")
def network_without_weights(config, root):
    add_pictures(config, root)
    config["features"]["net"] = {"class": "timm", "model": "resnet18"}


@case("features.npy", "does not exist")
def missing_array(config, root):
    config["features"]["stored"] = {"class": "array", "path": "features.npy", "ids_table": str(root / "stimuli.tsv")}


# ------------------------------------------------------------------------------------------------------ stimulus table


@case("stimuli.tsv", "no column 'stimulus_id'", "add it")
def stimulus_table_without_ids(config, root):
    edit(root / "stimuli.tsv", lambda t: t.rename(columns={"stimulus_id": "id"}))


@case("stimuli.tsv", "'s003'", "more than once")
def duplicate_stimulus_ids(config, root):
    edit(root / "stimuli.tsv", lambda t: t.replace({"stimulus_id": {"s004": "s003"}}))


@case("stimuli.tsv", "no row")
def stimulus_table_without_rows(config, root):
    edit(root / "stimuli.tsv", lambda t: t.iloc[:0])


@case("'a'", "'a_*'", "columns")
def no_column_for_a_table_feature(config, root):
    edit(root / "stimuli.tsv", lambda t: t.drop(columns=["a_0", "a_1", "a_2"]))


@case("'a'", "'a_1'", "s007")
def gap_in_a_feature_column(config, root):
    edit(root / "stimuli.tsv", lambda t: t.assign(a_1=t["a_1"].where(t["stimulus_id"] != "s007", "")))


@case("'a'", "'a_1'", "numbers")
def feature_column_without_a_value(config, root):
    edit(root / "stimuli.tsv", lambda t: t.assign(a_1="n/a"))


@case("'a'", "'a_1'", "levels")
def feature_column_of_words(config, root):
    edit(root / "stimuli.tsv", lambda t: t.assign(a_1="red"))


@case("'a'", "no column varies")
def constant_features(config, root):
    edit(root / "stimuli.tsv", lambda t: t.assign(a_0="1", a_1="2", a_2="0"))


@case("'words'", "'text'")
def no_text_for_a_sentence_feature(config, root):
    config["features"]["words"] = {"class": "sentence"}
    edit(root / "stimuli.tsv", lambda t: t.drop(columns="text"))


@case("'words'", "s005", "non-empty")
def empty_text_for_a_sentence_feature(config, root):
    config["features"]["words"] = {"class": "sentence"}
    edit(root / "stimuli.tsv", lambda t: t.assign(text=t["text"].where(t["stimulus_id"] != "s005", "")))


@case("'energy'", "'path'")
def no_image_for_an_image_feature(config, root):
    config["features"]["energy"] = {"class": "gabor"}


@case("s010.png", "not a readable image")
def file_that_is_no_image(config, root):
    add_pictures(config, root)
    (root / "s010.png").write_text("not a picture")


@case("s010.png", "not a readable image")
def image_cut_short(config, root):
    add_pictures(config, root)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(root / "s010.png")
    (root / "s010.png").write_bytes((root / "s010.png").read_bytes()[:4000])


@case("'stored'", "no row", "s030")
def stored_features_without_a_stimulus(config, root):
    np.save(root / "stored.npy", np.ones((30, 4), np.float32))
    pd.DataFrame({"stimulus_id": [f"s{i:03d}" for i in range(30)]}).to_csv(root / "ids.tsv", sep="\t", index=False)
    files = {"path": str(root / "stored.npy"), "ids_table": str(root / "ids.tsv")}
    config["features"]["stored"] = {"class": "array", **files}


# ----------------------------------------------------------------------------------------------------------- responses


@case("sub-01_responses.h5", "cannot be read", "copy it again")
def truncated_hdf5(config, root):
    with h5py.File(root / "sub-01_responses.h5", "w") as file:
        file["responses"] = np.load(root / RESPONSES)
    content = (root / "sub-01_responses.h5").read_bytes()
    (root / "sub-01_responses.h5").write_bytes(content[: len(content) // 2])
    (root / RESPONSES).unlink()


@case(RESPONSES, "every response is NaN")
def responses_that_are_all_nan(config, root):
    resave(root, lambda Y: np.full_like(Y, np.nan))


@case(RESPONSES, "infinity")
def responses_with_infinity(config, root):
    resave(root, lambda Y: np.where(np.arange(len(Y))[:, None] == 3, np.inf, Y))


@case(SAMPLES, "180 rows", "170 samples")
def wrong_number_of_rows(config, root):
    resave(root, lambda Y: Y[:170])


@case(SAMPLES, "180 rows", "24 samples")
def responses_turned_round(config, root):
    resave(root, lambda Y: Y.T)


@case(RESPONSES, "<U", "real numbers")
def responses_of_text(config, root):
    resave(root, lambda Y: Y.astype(str))


@case(RESPONSES, "pickled", "never opened")
def responses_of_python_objects(config, root):
    np.save(root / RESPONSES, np.load(root / RESPONSES).astype(object), allow_pickle=True)


@case(RESPONSES, "shape (180,)", "n_targets")
def responses_of_one_axis(config, root):
    resave(root, lambda Y: Y[:, 0])


@case(RESPONSES, "empty")
def responses_file_without_a_byte(config, root):
    (root / RESPONSES).write_bytes(b"")


@case("sub-01_responses", "npy", "h5", "name the suffix")
def responses_in_two_formats(config, root):
    with h5py.File(root / "sub-01_responses.h5", "w") as file:
        file["responses"] = np.load(root / RESPONSES)


@case("24 columns", "20484")
def responses_of_another_mesh(config, root):
    config["dataset"]["mesh"] = "fsaverage5"


# ------------------------------------------------------------------------------------------------- samples and regions


@case(SAMPLES, "'s999'", "stimuli.tsv")
def samples_that_name_an_unknown_stimulus(config, root):
    edit(root / SAMPLES, lambda t: t.replace({"stimulus_id": {"s003": "s999"}}))


@case("responses.within", "'session'", "add it")
def no_column_to_clean_within(config, root):
    edit(root / SAMPLES, lambda t: t.drop(columns="session"))


@case(REGIONS, "20 targets", "24")
def regions_of_another_length(config, root):
    edit(root / REGIONS, lambda t: t.iloc[:20])


@case(REGIONS, "no region")
def regions_without_a_name(config, root):
    edit(root / REGIONS, lambda t: t.assign(region=""))


# --------------------------------------------------------------------------------------------------------------- split


@case("split", "test")
def nothing_to_test(config, root):
    edit(root / "stimuli.tsv", lambda t: t.assign(split="train"))


@case("split", "training")
def nothing_to_train_on(config, root):
    edit(root / "stimuli.tsv", lambda t: t.assign(split="test"))


@case("split", "'dev'", "validation")
def unknown_name_of_a_split(config, root):
    edit(root / "stimuli.tsv", lambda t: t.replace({"split": {"test": "dev"}}))


@case("split", "no column 'fold'")
def no_column_to_split_by(config, root):
    config["split"] = {"class": "column", "column": "fold"}


@case("split", "n_folds is 100", "60")
def more_folds_than_stimuli(config, root):
    config["split"] = {"class": "stimulus", "n_folds": 100}


@case("split", "test_share", "n_folds", "exactly one")
def split_without_a_size(config, root):
    config["split"] = {"class": "stimulus"}


@case("split", "'run'", "add it")
def runs_that_are_not_named(config, root):
    config["split"] = {"class": "run"}


@case("split", "stimuli", "both training and test", "stimuli_recur")
def repetitions_that_straddle(config, root):
    edit(root / SAMPLES, lambda t: t.assign(run=np.arange(ROWS) // 60))
    config["split"] = {"class": "run"}


@case("responses.average", "set responses.average to false")
def recurring_conditions_that_would_be_averaged_over_folds(config, root):
    edit(root / SAMPLES, lambda t: t.assign(run=np.arange(ROWS) // 60))
    config["split"] = {"class": "run", "stimuli_recur": True}


@case("split", "s000", "also in training", "remove the duplicates")
def copies_over_folds_of_runs(config, root):
    # Each run has its own stimuli, but two of different runs show the same.
    samples = pd.DataFrame({"stimulus_id": [f"s{i:03d}" for i in np.repeat(np.arange(60), 3)], "session": 0})
    samples["run"] = np.repeat([0, 1, 2], 60)
    samples.to_csv(root / SAMPLES, sep="\t", index=False)
    edit(root / "stimuli.tsv", lambda t: t.replace({"text": {"stimulus number 0": "stimulus number 50"}}))
    config["split"] = {"class": "run"}


# --------------------------------------------------------------------------------------------------------------- tests


def checked(tmp_path: Path, mutate: Any, capsys: pytest.CaptureFixture) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of ``brainenc check`` on the toy after ``mutate``."""
    root = tmp_path / "data"
    write_toy(root)
    config = toy_config(root, tmp_path / "results")
    text = mutate(config, root) if mutate else None
    study = tmp_path / "study.yaml"
    if isinstance(text, bytes):
        study.write_bytes(text)
    else:
        study.write_text(yaml.safe_dump(config) if text is None else text)
    capsys.readouterr()
    status = main(["check", str(study)])
    return status, *capsys.readouterr()


@pytest.mark.parametrize("name", CASES)
def test_a_malformed_study_is_refused_in_one_sentence(name, tmp_path, capsys):
    mutate, said = CASES[name]
    status, printed, sentence = checked(tmp_path, mutate, capsys)
    assert status == 1
    assert sentence.startswith("brainenc check: ") and sentence.count("\n") == 1, sentence
    assert "Traceback" not in sentence and printed == ""
    for words in said:
        assert words in sentence, f"{words!r} is not in: {sentence}"
    assert re.search(r"[:;] [^:;]+\.$", sentence.strip()), f"no cure after the fault: {sentence}"
    assert len(sentence) < 600, sentence
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("prepare", [None, add_pictures], ids=["toy", "toy with pictures"])
def test_the_toy_itself_passes(prepare, tmp_path, capsys):
    status, printed, complaint = checked(tmp_path, prepare, capsys)
    assert (status, complaint) == (0, "")
    assert "is sound: 1 subjects" in printed and "banded/a+b" in printed
    assert not (tmp_path / "results").exists()


def test_there_are_many_kinds_of_fault():
    assert len(CASES) >= 25
    sentences = [tuple(said) for _, said in CASES.values()]
    assert len(set(sentences)) > 0.9 * len(sentences)


@pytest.mark.parametrize("name", ["unknown_key_in_a_section", "no_column_for_a_table_feature", "nothing_to_test"])
def test_the_graph_refuses_the_same(name, tmp_path, capsys):
    """`check_study` is the first step of the graph too, and leaves no output."""
    import json

    root = tmp_path / "data"
    write_toy(root)
    config = toy_config(root, tmp_path / "results")
    CASES[name][0](config, root)
    arguments = ["check_study", "--parameters", json.dumps(config), "--output", str(tmp_path / "checked.json")]
    assert main(arguments) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "checked.json").exists()


def test_a_study_file_that_is_missing_is_named(tmp_path, capsys):
    assert main(["check", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml does not exist" in capsys.readouterr().err


def test_constants_speak_of_the_toy(tmp_path):
    write_toy(tmp_path / "data")
    assert np.load(tmp_path / "data" / RESPONSES).shape == (ROWS, N_TARGETS)
    shutil.rmtree(tmp_path / "data")


def test_models_whose_exports_would_share_a_name_are_refused(tmp_path, capsys):
    write_toy(tmp_path / "data")
    config = toy_config(tmp_path / "data", tmp_path / "results")
    config["encoders"] = {"ridge-a": {"class": "ridge", "features": ["b"]}, "ridge": {"class": "ridge"}}
    config["features"]["a-b"] = dict(config["features"]["a"])
    config["comparisons"] = []
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    assert main(["check", str(tmp_path / "study.yaml")]) == 1
    assert "ridgeAB" in capsys.readouterr().err
