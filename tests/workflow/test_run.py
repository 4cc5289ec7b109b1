"""The real command, end to end on the toy: a report; then nothing to do; and a failure that is told, not hidden."""

from __future__ import annotations

import pytest
import yaml

from pipelines.study import load_study
from tests.pipelines.conftest import toy_config, write_toy
from tests.workflow.snakemake_runs import BIN, call

pytestmark = pytest.mark.slow


def write_study(folder, **changed):
    write_toy(folder / "data")
    config = {**toy_config(folder / "data", folder / "results"), **changed}
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    return folder / "study.yaml"


def run(study, *arguments):
    return call(BIN / "brainenc", "run", study, "--cores", "2", *arguments, cwd=study.parent)


def times(folder):
    """When each result was written; hidden files are the command's own."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("[!.]*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small study run once: one ridge, one feature space, in a folder whose name has a space."""
    encoders = {"ridge": {"class": "ridge", "features": ["a"], "n_alphas": 6, "device": "numpy"}}
    study = write_study(tmp_path_factory.mktemp("a run"), encoders=encoders, comparisons=[])
    first = run(study)
    assert first.returncode == 0, first.stdout + first.stderr
    return study, first


def test_a_run_ends_in_the_path_of_its_report(finished):
    study, first = finished
    report = load_study(study).folder / "report.html"
    assert report.is_file() and f"Report: {report}" in first.stdout
    page = report.read_text()
    assert "None: every part of the study was computed." in page
    assert '<td class="t">fit_encoder</td>' in page[page.index('id="resources"') :]


def test_what_was_measured_is_kept_and_what_was_in_between_is_not(finished):
    folder = load_study(finished[0]).folder
    assert (folder / "sub-01" / "responses.h5").is_file()
    assert not (folder / "sub-01" / "responses-raw.h5").exists()
    logs = {path.parent.name if path.parent.name != "logs" else path.stem for path in folder.rglob("logs/**/*.log")}
    assert {"fit_encoder", "check_study", "write_report", "extract_features"} <= logs


def test_a_second_run_has_nothing_to_do_and_says_so(finished):
    study, _ = finished
    folder = load_study(study).folder
    before = times(folder)
    second = run(study)
    assert second.returncode == 0
    assert "Nothing to do" in second.stdout
    assert "rule " not in second.stderr.replace("localrule", "rule ")
    assert before == times(folder)


def test_view_prints_the_report(finished):
    study, _ = finished
    viewed = call("env", "-u", "DISPLAY", BIN / "brainenc", "view", study, cwd=study.parent)
    assert viewed.returncode == 0
    assert viewed.stdout.strip() == str(load_study(study).folder / "report.html")


def test_a_changed_parameter_reruns_what_depends_on_it_alone(finished):
    study, _ = finished
    config = yaml.safe_load(study.read_text())
    changed = study.with_name("changed.yaml")
    changed.write_text(yaml.safe_dump({**config, "statistics": {"n_permutations": 49, "n_bootstrap": 50}}))
    planned = run(changed, "--dry-run").stdout
    assert "score_encoder" in planned and "write_report" in planned
    assert "fit_encoder" not in planned.split("Job stats:")[1].split("\n\n")[0]


def test_a_failing_step_still_leaves_a_report_that_says_which_and_why(tmp_path):
    # A fault that no table shows: the encoder of this feature space runs out of training rows that vary.
    features = {"a": {"class": "table", "columns": ["a_*"]}, "tested": {"class": "table", "columns": ["tested_*"]}}
    encoders = {"ridge": {"class": "ridge", "n_alphas": 6, "device": "numpy"}}
    study = write_study(tmp_path, features=features, encoders=encoders, comparisons=[])
    table = (tmp_path / "data" / "stimuli.tsv").read_text().splitlines()
    varying = ["tested_0", *(str(i if "\ttest\t" in row else 0) for i, row in enumerate(table[1:]))]
    lines = [f"{row}\t{value}" for row, value in zip(table, varying, strict=True)]
    (tmp_path / "data" / "stimuli.tsv").write_text("\n".join(lines) + "\n")
    assert call(BIN / "brainenc", "check", study, cwd=tmp_path).returncode == 0

    failed = run(study)
    assert failed.returncode != 0
    assert "Some steps failed. The report says which, and why" in failed.stderr
    page = (load_study(study).folder / "report.html").read_text()
    failures = page[page.index('id="failures"') :]
    assert "encoder-ridge_features-tested/encoder.json" in failures
    assert "brainenc fit_encoder: X has no feature that varies over the 45 training rows: leave it out." in failures
    # What could be computed was: the other model is there, and another try does not compute it again.
    assert "encoder-ridge_features-a/encoder.json" not in failures
    again = run(study, "--dry-run").stdout.split("Job stats:")[1].split("\n\n")[0]
    assert "fit_encoder" in again and "extract_features" not in again

    # Mended, it goes on to a whole report.
    config = yaml.safe_load(study.read_text())
    config["encoders"]["ridge"]["features"] = ["a"]
    study.write_text(yaml.safe_dump(config))
    assert run(study).returncode == 0
    assert "None: every part of the study was computed." in (load_study(study).folder / "report.html").read_text()
