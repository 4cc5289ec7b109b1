"""The command ``brainenc``: every step speaks, and faults are one line, not a traceback."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipelines import cli, page
from pipelines.cli import STEPS, STUDY_VERBS, main
from tests.pipelines.conftest import toy_config, write_toy

COMMAND = Path(sys.executable).parent / "brainenc"


def call(*words, cwd):
    return subprocess.run([str(COMMAND), *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("step", STEPS)
def test_every_step_explains_its_options(step, capsys):
    with pytest.raises(SystemExit) as stop:
        main([step, "--help"])
    said = capsys.readouterr()
    assert stop.value.code == 0 and said.err == ""
    for name in inspect.signature(cli._step(step)).parameters:
        assert f"--{name.replace('_', '-')} " in said.out, name
    assert "Parameters\n" in said.out


@pytest.mark.parametrize("step", STEPS)
def test_every_step_is_one_page_of_its_name(step):
    assert Path(page(step)).is_file()
    text = Path(page(step)).read_text(encoding="utf-8")
    assert text.startswith(f'"""{step}: ')
    assert len(text.splitlines()) <= 300
    for other in STEPS:
        assert f"from pipelines.{other} import" not in text, f"{step} imports the step {other}"


def test_options_are_those_of_the_words_given_not_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["brainenc", "write_report"])
    with pytest.raises(SystemExit):
        main(["split_samples", "--help"])
    assert "--stimuli" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["chek", "study.yaml"],
        ["check"],
        ["check", "study.yaml", "--cores", "2"],
        ["split_samples"],
        ["split_samples", "--parameters", "{not json"],
        ["keys", "extra"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_two_and_no_traceback(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert said.startswith("usage: brainenc") and "Traceback" not in said


def test_a_fault_is_one_line_and_status_one_for_people_too(tmp_path):
    write_toy(tmp_path / "data")
    config = toy_config(tmp_path / "data", tmp_path / "results")
    sound, faulty = tmp_path / "sound.yaml", tmp_path / "faulty.yaml"
    sound.write_text(yaml.safe_dump(config))
    faulty.write_text(yaml.safe_dump({**config, "split": {"class": "stimulus", "n_folds": 100}}))
    passed, refused = call("check", sound, cwd=tmp_path), call("check", faulty, cwd=tmp_path)
    assert (passed.returncode, passed.stderr) == (0, "")
    assert refused.returncode == 1 and refused.stdout == ""
    assert refused.stderr.startswith("brainenc check: study key split") and refused.stderr.count("\n") == 1


def test_a_step_that_cannot_read_its_input_says_so(tmp_path, capsys):
    words = ["split_samples", "--stimuli", "none.tsv", "--responses", "none.h5", "--output", str(tmp_path / "o.tsv")]
    assert main([*words, "--parameters", '{"class": "column"}']) == 1
    said = capsys.readouterr().err
    assert said.startswith("brainenc split_samples: none.tsv") and said.count("\n") == 1


def test_view_before_a_run_says_what_comes_next(tmp_path, capsys):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(toy_config(tmp_path, tmp_path / "results")))
    assert main(["view", str(tmp_path / "study.yaml")]) == 1
    assert "Next: brainenc run" in capsys.readouterr().err


def test_keys_prints_the_reference(capsys):
    assert main(["keys"]) == 0
    assert capsys.readouterr().out.startswith("## Study\n")


def test_threads_bound_the_pools_of_the_step(tmp_path):
    """One pool of the size the scheduler granted, in the libraries that the step loads."""
    code = (
        "import sys; from pipelines.cli import main; main(['keys'] if len(sys.argv) < 2 else sys.argv[1:]);"
        "import numpy, threadpoolctl; print(max(p['num_threads'] for p in threadpoolctl.threadpool_info()))"
    )
    words = ["split_samples", "--threads", "1", "--stimuli", "n.tsv", "--responses", "n.h5", "--output", "o.tsv"]
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    command = [sys.executable, "-c", code, *words, "--parameters", "{}"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "1", done.stderr


def test_help_is_quick():
    start = time.perf_counter()
    done = call("--help", cwd=".")
    assert done.returncode == 0 and all(name in done.stdout for name in (*STUDY_VERBS, *STEPS))
    assert time.perf_counter() - start < 10
