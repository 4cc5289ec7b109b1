"""The graph: every study plans, with every profile; the plan has the jobs that the study asks for."""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec

import pytest
import yaml

from pipelines.cli import STEPS
from pipelines.study import load_study
from tests.pipelines.conftest import toy_config, write_toy
from tests.workflow.snakemake_runs import BIN, ROOT, SNAKEFILE, call, dry_run, jobs, snakemake

STUDIES = sorted((ROOT / "config").rglob("*.yaml"))
RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
PER_SUBJECT = (
    "prepare_responses",
    "split_samples",
    "clean_responses",
    "estimate_ceiling",
    "summarise_regions",
    "paint_maps",
    "export_maps",
)


def rules() -> dict[str, str]:
    """Text of every rule, by name, but the target of all."""
    text = "\n".join(path.read_text() for path in RULES)
    return dict(re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", text, re.M | re.S))


@pytest.fixture
def toy_study(tmp_path):
    """The toy as a study file in an empty folder; returns the file and its configuration."""
    write_toy(tmp_path / "data")
    config = toy_config(tmp_path / "data", tmp_path / "results")

    def write(**changed):
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in {**config, **changed}.items() if v is not None}))
        return path

    return write


def copied(folder):
    """The workflow and its demo in another place, so that nothing is read from or written to the checkout."""
    for name in ("workflow", "config"):
        shutil.copytree(ROOT / name, folder / name)


def expected_jobs(study):
    n_subjects, n_models = len(study.subjects), len(study.models)
    planted = study.config["dataset"]["class"] == "planted"
    wanted = dict.fromkeys(PER_SUBJECT, n_subjects) | dict.fromkeys(
        ("all", "check_study", "prepare_stimuli", "write_report"), 1
    )
    used = {name for model in study.models for name in model.features}
    n_trained = sum(model.encoder in study.trained for model in study.models)
    wanted |= {"extract_features": len(used), "fit_encoder": n_subjects * (n_models - n_trained)}
    wanted |= {"fit_readout": n_subjects * n_trained}
    wanted |= {"read_attention": n_subjects * len(study.looking_models)}
    wanted |= {"read_receptive_fields": n_subjects * len(study.field_models)}
    wanted |= {"score_encoder": n_subjects * n_models, "partition_variance": n_subjects * len(study.joint_models)}
    wanted |= {"check_recovery": n_subjects if planted else 0}
    return {name: count for name, count in wanted.items() if count}


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
@pytest.mark.parametrize("profile", ["default", "slurm"])
def test_every_study_plans_its_jobs(study, profile, tmp_path):
    options = ["--workflow-profile", ROOT / "workflow" / "profiles" / profile]
    if profile == "slurm" and find_spec("snakemake_executor_plugin_slurm") is None:
        options += ["--executor", "local"]
    planned = dry_run(study, tmp_path, *options)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    counted = jobs(planned.stdout)
    assert counted.pop("total") == sum(counted.values())
    assert counted == expected_jobs(load_study(study))


def test_the_demo_is_what_runs_without_a_study(tmp_path):
    copied(tmp_path)
    planned = snakemake("--cores", "1", "--dry-run", "--workflow-profile", "none", cwd=tmp_path)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "results/demo/report.html" in planned.stdout


def test_brainenc_run_plans_the_same_as_snakemake(toy_study, tmp_path):
    study = toy_study()
    by_hand = dry_run(study, tmp_path)
    by_command = call(BIN / "brainenc", "run", study, "--cores", "2", "--dry-run", cwd=tmp_path)
    assert by_command.returncode == 0, by_command.stderr
    assert jobs(by_hand.stdout) == jobs(by_command.stdout)
    assert not (tmp_path / "results").exists()


def test_a_study_is_never_merged_with_the_demo(toy_study, tmp_path):
    study = toy_study(comparisons=None, statistics=None, export=None)
    planned = dry_run(study, tmp_path, "--workflow-profile", "none", "--printshellcmds")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    command = next(line for line in planned.stdout.splitlines() if "summarise_regions --threads" in line)
    assert '"comparisons": []' in command and '"n_permutations": 1000' in command
    demo = load_study(ROOT / "config" / "config.yaml").config
    assert demo["comparisons"] and demo["statistics"]["n_permutations"] != 1000
    for name in ("energy", "captions", "scenes"):
        assert name not in planned.stdout


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"split": None}, "required key 'split' is missing"), ({"sead": 1}, "unknown key 'sead'")],
)
def test_a_malformed_study_stops_the_plan_in_one_sentence(toy_study, tmp_path, changed, said):
    planned = dry_run(toy_study(**changed), tmp_path)
    assert planned.returncode != 0
    assert said in planned.stderr + planned.stdout
    assert "Traceback" not in planned.stderr + planned.stdout


def test_another_workflow_can_use_it_as_a_module(toy_study, tmp_path):
    """The snippet of config/README.md, pasted."""
    text = (ROOT / "config" / "README.md").read_text()
    snippet = re.search(r"```python\n(module brainenc:.*?)```", text, re.S).group(1)
    snippet = snippet.replace("path/to/brainenc/workflow/Snakefile", str(SNAKEFILE))
    outer = tmp_path / "outer"
    outer.mkdir()
    report = tmp_path / "results" / "toy" / "report.html"
    (outer / "Snakefile").write_text(f'rule everything:\n    input: "{report}"\n\n{snippet}')
    config = yaml.safe_load(toy_study().read_text())
    (outer / "outer.yaml").write_text(yaml.safe_dump({"brainenc": config}))
    planned = snakemake("--cores", "1", "--dry-run", "--configfile", "outer.yaml", cwd=outer)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    counted = jobs(planned.stdout)
    assert counted["brainenc_fit_encoder"] == 4 and counted["brainenc_write_report"] == 1
    assert "brainenc_check_recovery" not in counted


def test_lint_and_format_are_clean(tmp_path):
    copied(tmp_path)
    linted = snakemake("--lint", cwd=tmp_path)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    formatted = call(BIN / "snakefmt", "--check", "workflow", cwd=tmp_path)
    assert formatted.returncode == 0, formatted.stdout + formatted.stderr


def test_the_snakefile_is_a_table_of_contents():
    lines = SNAKEFILE.read_text().splitlines()
    assert len(lines) < 40
    assert [line for line in lines if line.startswith("include:")] == [
        f'include: "rules/{name}.smk"' for name in ("paths", "data", "models", "maps", "report")
    ]


def test_rules_and_steps_have_the_same_names():
    assert set(rules()) == set(STEPS)
    assert len(STEPS) == len(set(STEPS))


@pytest.mark.parametrize("name", STEPS)
def test_a_rule_declares_what_a_rule_must(name):
    text = rules()[name]
    for directive in ("input", "output", "log", "benchmark", "conda", "resources", "params", "shell"):
        assert re.search(rf"^    {directive}:", text, re.M), f"{name} has no {directive}"
    assert f'page=page("{name}")' in text
    command = " ".join(re.findall(r'"([^"\n]*)"', text[text.index("    shell:") :]))
    assert command.startswith(f"brainenc {name} ") and command.endswith("2> {log:q}")
    assert not re.findall(r"{(?:input|output|log|params)[\w.]*}", command)  # unquoted, a space in a path would cut it
    assert "mem_mb=" in text and "runtime=" in text
    assert "script:" not in text and "run:" not in text.replace("dry-run:", "")


def test_no_site_is_named_outside_the_profiles():
    for path in [SNAKEFILE, *RULES]:
        assert not re.search(r"slurm|partition=|account", path.read_text()), path
