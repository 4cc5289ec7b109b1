"""plan: shapes from headers, amounts that grow with what is asked for, refusals that say what would fit."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from brainenc import encoders
from brainenc.core import storage
from brainenc.core.calibration import Calibration, Start
from brainenc.core.machine import Gpu, Limit, Machine
from brainenc.core.types import DataError
from brainenc.features import reduction
from pipelines import plan_features, plan_fit, plan_refusals, plan_study, plan_text, study_verbs
from pipelines.cli import main
from pipelines.plan_features import FeatureShape
from pipelines.plan_fit import fit_demand
from pipelines.plan_jobs import study_jobs
from pipelines.plan_shapes import Shapes, SubjectShape, find_shapes
from pipelines.study import resolve_study
from pipelines.write_report import write_report
from tests.pipelines.conftest import N_REPETITIONS, N_STIMULI, N_TARGETS, toy_config, write_toy

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30
SIZE = SubjectShape(
    n_rows=9000, n_samples=3000, n_train=2400, n_tested=600, n_folds=1, n_groups=2400, n_targets=40_000, n_session=750
)
RATES = Calibration(
    threads=1, flops32=1e11, flops64=5e10, eigh_flops=2e10, copy=5e9, read=1e9, write=5e8, made="2026-01-01",
    starts={name: Start(2**27, 2**29, 2**28, 1.0) for name in plan_study.TYPICAL},
)  # fmt: skip


def machine(ram: float = 64 * GIB, disk: float = 1e15, **limits) -> Machine:
    return Machine(
        (Limit(4, "four cores"),), (Limit(ram, "a limit of the test"),), Limit(disk, "a small disk"), **limits
    )


def planned(study, shapes=None, here=None, rates=RATES) -> plan_study.Plan:
    """A plan of given shapes on a given machine; nothing is looked up or measured."""
    shapes = shapes or find_shapes(study, build_networks=False)
    here = here or machine()
    jobs = tuple(study_jobs(study, shapes))
    found = tuple(plan_study.predict(job, rates, bool(here.gpus)) for job in jobs)
    return plan_refusals.with_refusals(plan_study.Plan(study, shapes, here, rates, jobs, found))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("planned")
    write_toy(root / "data")
    return resolve_study(toy_config(root / "data", root / "results"))


def large(study, features=(2000, 2000), **sizes) -> Shapes:
    """The toy's names with sizes of a real study."""
    spaces = {name: FeatureShape(p, p) for name, p in zip(("a", "b"), features, strict=True)}
    return Shapes(3000, {"01": replace(SIZE, **sizes)}, spaces)


# ------------------------------------------------------------------------------------------------------------- shapes


def test_shapes_of_a_study_that_never_ran_are_those_of_its_files(study):
    shapes = find_shapes(study, build_networks=False)
    size = shapes.subjects["01"]
    assert (size.n_rows, size.n_targets, size.n_regions) == (N_STIMULI * N_REPETITIONS, N_TARGETS, 3)
    assert (size.n_samples, size.n_train, size.n_tested, size.n_folds) == (60, 45, 15, 1)
    assert size.n_session == 60 and not size.by_block  # .npy is mapped
    assert shapes.n_stimuli == N_STIMULI and shapes.unknown == {}
    assert [s.n_features for s in shapes.features.values()] == [3, 2]  # the second is reduced


def test_cross_validation_trains_on_all_but_a_fold(study):
    config = {**study.config, "split": {"class": "stimulus", "n_folds": 4}}
    size = find_shapes(resolve_study(config), build_networks=False).subjects["01"]
    assert (size.n_folds, size.n_tested, size.n_train) == (4, 60, 45)


def test_a_network_is_unknown_until_it_is_tried_or_its_features_are_written(study, tmp_path, monkeypatch):
    entry = {"class": "timm", "model": "resnet10t", "random_weights": 1}
    features = {**study.config["features"], "net": entry}
    config = {**study.config, "results": str(tmp_path), "features": features, "comparisons": []}
    new = resolve_study({**config, "encoders": {"ridge": {"class": "ridge"}}})
    shapes = find_shapes(new, build_networks=False)
    assert "run `brainenc run STUDY.yaml --until extract_features` first" in shapes.unknown["net"]
    unknown = [p for p in planned(new, shapes).predictions if p.unknown]
    assert {p.step for p in unknown} == {"extract_features", "fit_encoder"} and len(unknown) == 2
    assert any("'net' are not known yet" in note for note in planned(new, shapes).notes)

    told = {"n_values": 512, "seconds": 0.01, "start_seconds": 2.0, "ram": GIB}
    monkeypatch.setattr(plan_features, "_tried", lambda *_: told)
    tried = find_shapes(new).features["net"]
    assert (tried.n_features, tried.ram) == (512, GIB)
    (job,) = [p for p in planned(new, find_shapes(new)).predictions if p.name == "extract_features/net"]
    assert (
        GIB < job.ram < 1.02 * GIB and job.bound == "network" and job.seconds == pytest.approx(2 + 60 * 0.01, abs=0.1)
    )


def test_what_a_network_takes_is_not_known_from_its_features_alone(study, tmp_path):
    """Its width is: encoders are planned, and of extraction it is said that it is not."""
    entry = {"class": "timm", "model": "resnet10t", "random_weights": 1}
    features = {**study.config["features"], "a": entry}
    new = resolve_study({**study.config, "results": str(tmp_path), "features": features})
    told = {p.name: p for p in planned(new, large(new)).predictions}
    assert "run `brainenc plan STUDY.yaml`" in told["extract_features/a"].unknown
    assert told["extract_features/a"].ram is None and told["extract_features/b"].ram > 0
    assert all(p.ram > 0 for p in told.values() if p.step == "fit_encoder")


def test_signals_planted_on_a_network_are_not_planned_without_it(study):
    """Their memory is that of a network; signals of the equations are planned."""
    for network, known in ((None, True), ("somewhere/net", False)):
        dataset = {"class": "planted", **({"network": network} if network else {})}
        config = {**study.config, "dataset": dataset}
        told = {p.step: p for p in planned(replace(study, config=config), large(study)).predictions}
        for step in ("prepare_responses", "check_recovery"):
            assert (told[step].ram is not None) == known and ("somewhere/net" in told[step].unknown) != known
        assert told["clean_responses"].ram > 0


def test_features_that_were_made_otherwise_are_not_believed(toy):
    config = json.loads(json.dumps(toy.study.config))
    path = toy.folder / "features" / "a.h5"
    assert plan_features._stored(toy.study, "a", config["features"]["a"]) == 3 and path.exists()
    assert plan_features._stored(toy.study, "a", {**config["features"]["a"], "columns": ["b_*"]}) is None


@pytest.mark.slow
def test_an_extractor_is_tried_in_a_process_of_its_own(study, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    table = pd.DataFrame({"text": ["a", "longer text"]}, index=pd.Index(["x", "y"], name="stimulus_id"))
    shape = plan_features.feature_shape(study, "g", {"class": "gabor", "batch_size": 4}, table, True)
    assert shape.n_features == 2 * 4 * 8 * 8 and shape.ram > 5e7 and shape.seconds > 0
    broken = {"class": "timm", "model": "no_such_network", "random_weights": 0, "batch_size": 4}
    assert "no_such_network" in plan_features.feature_shape(study, "n", broken, table, True)


# ----------------------------------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize("sizes", [{"n_targets": 80_000}, {"n_regions": 200}, {"n_targets": 400_000}])
def test_more_targets_never_need_less(study, sizes):
    few, many = planned(study, large(study)), planned(study, large(study, **sizes))
    for a, b in zip(few.predictions, many.predictions, strict=True):
        assert b.ram >= a.ram and b.disk >= a.disk and (a.seconds is None or b.seconds >= a.seconds), a.name


@pytest.mark.parametrize("solver", ["exact", "himalaya"])
def test_more_features_never_need_less(solver):
    entry = {"class": "ridge", "solver": solver}
    demands = [fit_demand(entry, [FeatureShape(p, p)], SIZE, 3000) for p in (10, 100, 1000, 2000, 4000, 8000)]
    rams, times = [d.ram for d in demands], [d.flops32 + d.flops64 + d.eigh_flops for d in demands]
    assert rams == sorted(rams) and times == sorted(times)


def test_the_broken_twin_of_growth_is_seen():
    rams = [fit_demand({"class": "ridge"}, [FeatureShape(p, p)], SIZE, 3000).ram for p in (8000, 10)]
    assert rams != sorted(rams)


def test_targets_pass_through_and_memory_stays(study):
    """Ten times the targets, and no step that streams needs much more."""
    few, many = (planned(study, large(study, n_targets=n)) for n in (30_000, 300_000))
    streams = ("clean_responses", "fit_encoder", "partition_variance")
    for a, b in zip(few.predictions, many.predictions, strict=True):
        if a.step in streams:
            assert b.ram < 1.4 * a.ram, a.name


def test_components_stand_for_features_and_cost_their_own():
    raw, reduced = FeatureShape(20_000, 20_000), FeatureShape(20_000, 20_000, n_components=100)
    whole, small = (fit_demand({"class": "ridge"}, [band], SIZE, 3000) for band in (raw, reduced))
    assert small.flops32 < whole.flops32 / 10 and small.ram < whole.ram
    assert small.eigh_flops >= 9 * SIZE.n_train**3


@pytest.mark.parametrize(
    ("n", "p", "block"), [(300, 3000, 2**26), (300, 3000, 2**17), (900, 300, 2**26), (900, 300, 2**18)]
)
def test_reducing_takes_what_it_is_said_to_take(n, p, block, monkeypatch):
    """More features than samples and fewer, in one block and in several, against what is really allocated."""
    monkeypatch.setattr(reduction, "BLOCK_BYTES", block)
    monkeypatch.setattr(plan_fit, "BLOCK_BYTES", block)
    X = np.random.default_rng(0).normal(size=(n, p)).astype(np.float32)
    reduction.PrincipalComponents(20).fit(X)  # libraries are loaded
    tracemalloc.start()
    reduction.PrincipalComponents(20).fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    said = plan_fit._reducing(n, p, 20)
    assert 0.95 <= said / peak <= 1.2
    assert plan_fit._reducing(n // 2, p // 2, 20) / peak < 0.95  # features of another size would be seen


def test_features_are_reduced_before_torch_is_there_but_for_later_folds(study):
    """Then reducing adds to what the libraries hold, and a plan of the whole must be larger."""
    wide = [FeatureShape(60_000, 60_000, n_components=10)]
    once, again = (fit_demand({"class": "ridge"}, wide, replace(SIZE, n_folds=k), 3000) for k in (1, 2))
    assert once.before == again.before > once.ram and again.ram == again.before
    jobs = [replace(next(study_jobs(study, large(study))), demand=demand) for demand in (once, again)]
    starts = {**RATES.starts, "torch": Start(2**29, 2**30, 2**29, 1.0)}
    first, second = (plan_study.predict(job, replace(RATES, starts=starts)).ram for job in jobs)
    assert second - first == pytest.approx((2**29 - 2**27) * plan_study.MARGIN, abs=2)


def test_candidates_are_those_that_banded_tries():
    widths = [3, 4, 5]
    for options in ({"n_gammas": 12}, {}, {"gammas": [[1, 0, 0], [0, 0.5, 0.5]]}):
        encoder = encoders.build("banded", **options)
        tried = encoder._candidates(3, None, np.empty((0, 3)))
        (sizes,) = plan_fit._candidates(encoder, widths)
        assert sizes == [int(np.dot(gamma > 0, widths)) for gamma in tried]
    assert len(plan_fit._candidates(encoders.build("banded", n_refinements=2), widths)) == 3
    assert plan_fit._candidates(encoders.build("ridge"), [7]) == [[7]]


def test_every_job_of_the_graph_is_predicted(study):
    plan = planned(study, large(study))
    assert {p.step for p in plan.predictions} == {
        "check_study", "prepare_stimuli", "prepare_responses", "split_samples", "clean_responses", "estimate_ceiling",
        "extract_features", "fit_encoder", "score_encoder", "partition_variance", "summarise_regions", "paint_maps",
        "export_maps", "write_report",
    }  # fmt: skip
    names = [p.name for p in plan.predictions]
    assert len(set(names)) == len(names)
    for job in plan.jobs:
        assert set(job.needs) <= set(names[: names.index(job.name)]), job.name


# ----------------------------------------------------------------------------------------------------------- refusals


def test_what_fits_is_not_refused(study):
    plan = planned(study, large(study))
    assert plan.refusals == () and plan.widths == ()


def test_a_refusal_says_what_is_needed_what_there_is_and_what_would_fit(study):
    shapes = large(study, features=(20_000, 20_000))
    plan = planned(study, shapes, machine(ram=3 * GIB))
    refusal = next(r for r in plan.refusals if r.startswith("fit_encoder/sub-01_encoder-banded_features-a+b "))
    assert re.search(
        r"needs [\d.]+ GiB of memory but 3\.0 GiB are there \(a limit of the test\): set features\.a", refusal
    )
    assert refusal.count(". ") == 0 and refusal.endswith("of memory.")
    # What it promises holds by the same formulas, and the next larger choice does not.
    promised = int(re.search(r"features\.b\.pca to (\d+) or less", refusal).group(1))

    def lacking(n_components: int) -> bool:
        reduced = {n: FeatureShape(20_000, 20_000, n_components) for n in ("a", "b")}
        again = planned(study, replace(shapes, features=reduced), machine(ram=3 * GIB))
        return any("banded_features-a+b " in r for r in again.refusals)

    assert not lacking(promised)
    larger = [n for n in plan_refusals.COMPONENTS if promised < n < SIZE.n_train]
    assert all(lacking(n) for n in larger[-1:])


def test_blocks_of_targets_are_narrowed_where_only_that_fits(study):
    shapes = large(study, features=(300, 300), n_samples=60_000, n_rows=60_000, n_train=48_000, n_groups=48_000)
    whole = planned(study, shapes)
    most = max(p.ram for p in whole.predictions if p.step == "fit_encoder")
    rest = max(p.ram for p in whole.predictions if p.step != "fit_encoder")
    tight = planned(study, shapes, machine(ram=max(rest * 1.06, 0.93 * most)))
    assert tight.refusals == (), tight.refusals
    assert "banded" in dict(tight.widths)
    assert any("which `brainenc run` chooses" in note for note in tight.notes)
    narrowed = {p.name: p for p in tight.predictions}
    for p in whole.predictions:
        if p.step == "fit_encoder":
            assert narrowed[p.name].ram <= p.ram


def test_limits_of_the_shell_the_gpu_and_the_disk_are_kept_as_well(study):
    shapes = large(study)
    shell = planned(study, shapes, machine(address_space=(Limit(GIB / 4, "ulimit -v"),)))
    assert all("of address space but 256 MiB are there (ulimit -v)" in refusal for refusal in shell.refusals)
    gpu = planned(study, shapes, machine(gpus=(Gpu("small card", 2**24, 2**30),)))
    assert gpu.refusals and all("free memory of small card" in r and "device to cpu" in r for r in gpu.refusals)
    (disk,) = planned(study, shapes, machine(disk=2**20)).refusals
    assert disk.startswith("the study writes") and "set the study key results" in disk


def test_jobs_beside_each_other_must_fit_too(study):
    config = {**study.config, "encoders": {"ridge": {"class": "ridge"}}, "comparisons": []}
    several = resolve_study(config)
    plan = planned(several, large(several))
    beside = plan_study.totals(plan)["beside"]
    alone = max(p.ram for p in plan.predictions)
    assert beside > alone
    tight = planned(several, large(several), machine(ram=(beside + alone) / 2 * 1.02))
    assert any(re.search(r"fit with --cores [123] ", note) for note in tight.notes)


def test_run_refuses_before_anything_starts(study, tmp_path, monkeypatch, capsys):
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({**study.config, "results": str(tmp_path / "results")}))
    monkeypatch.setattr(plan_study, "look", lambda *_, **__: machine(ram=2**24))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("snakemake was started"))
    assert main(["run", str(file)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("brainenc run: ") and "but 16 MiB are there (a limit of the test)" in said


def test_run_passes_the_chosen_width_on(study, tmp_path, monkeypatch):
    here = resolve_study({**study.config, "results": str(tmp_path)})
    plan = replace(planned(here), widths=(("banded", 256),))
    monkeypatch.setattr(plan_study, "plan_study", lambda *_, **__: plan)
    (narrower,) = study_verbs._fitting(here)
    assert storage.read_json(narrower) == {"encoders": {"banded": {"n_targets_batch": 256}}}
    monkeypatch.setattr(plan_study, "plan_study", lambda *_, **__: replace(plan, refusals=("It does not fit.",)))
    with pytest.raises(DataError, match="It does not fit"):
        study_verbs._fitting(here)


@pytest.mark.slow
def test_the_workflow_takes_the_chosen_width(study, tmp_path, monkeypatch):
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({**study.config, "results": str(tmp_path / "results")}))
    real = plan_study.plan_study
    monkeypatch.setattr(plan_study, "plan_study", lambda *a, **k: replace(real(*a, **k), widths=(("banded", 256),)))
    folder = tmp_path / "results" / "toy"
    assert main(["run", str(file), "--dry-run"]) == 0
    assert not (folder / "plan.json").exists()  # a dry run leaves no plan
    assert main(["run", str(file), "--until", "check_study"]) == 0
    used = storage.read_json(folder / "checked.json")["provenance"]["parameters"]["encoders"]
    assert used["banded"] == {**study.config["encoders"]["banded"], "n_targets_batch": 256}
    assert used["ridge"] == study.config["encoders"]["ridge"] and (folder / "plan.json").exists()


# --------------------------------------------------------------------------------------------------- schedule, output


def test_the_schedule_keeps_order_and_cores(study):
    plan = planned(study, large(study))
    one, four = plan_study.totals(plan, 1), plan_study.totals(plan, 4)
    assert one["seconds"] == pytest.approx(one["seconds_of_all_jobs"])
    assert four["seconds"] < one["seconds"]
    chain = four["critical_path"]
    assert chain[-1].startswith("write_report") and four["seconds"] >= max(p.seconds or 0 for p in plan.predictions)
    assert one["beside"] == max(p.ram for p in plan.predictions)


def test_the_table_has_a_line_for_every_step_and_subject(study):
    text = plan_text.as_text(planned(study, large(study)))
    for step in ("prepare_stimuli", "fit_encoder", "write_report"):
        assert re.search(rf"^{step} +(01|all) +\d", text, re.M), step
    assert "64.0 GiB (a limit of the test)" in text and "4 (four cores)" in text and "GFLOP/s" in text
    assert re.search(r"\d+ jobs, .* written", text) and "Decided by: " in text
    assert "nan" not in text and "None" not in text


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "< 1 s"), (12, "12 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (59.7, "1 min 0 s")]
)
def test_durations_are_read(seconds, words):
    assert plan_text.duration(seconds) == words


def test_the_plan_is_plain_json_and_is_kept_beside_the_results(study, tmp_path):
    other = resolve_study({**study.config, "results": str(tmp_path)})
    measured, cheap = planned(other), planned(other, rates=None)
    path = plan_study.save_plan(measured)
    kept = json.loads(path.read_text())
    assert path == other.folder / "plan.json" and len(kept["jobs"]) == len(measured.jobs)
    assert {"ram", "vram", "disk", "seconds", "bound", "width"} <= set(kept["jobs"][0])
    assert kept["limits"]["ram"][0]["source"] == "a limit of the test" and kept["refusals"] == []
    # Before a run, a plan without measurements does not take its place, unless the study is another.
    plan_study.save_plan(cheap, anew=False)
    assert json.loads(path.read_text())["calibration"] is not None
    changed = resolve_study({**other.config, "seed": 1})
    plan_study.save_plan(replace(cheap, study=changed), anew=False)
    assert json.loads(path.read_text())["calibration"] is None


def test_the_report_shows_planned_beside_measured(toy, tmp_path):
    shutil.copytree(toy.study.config["results"], tmp_path / "results")
    config = {**toy.study.config, "results": str(tmp_path / "results")}
    folder = resolve_study(config).folder
    job = "fit_encoder/sub-01_encoder-ridge_features-a"
    storage.write_text(folder / "benchmarks" / f"{job}.tsv", "s\tmax_rss\n12.5\t100.0\n")
    storage.write_text(folder / "benchmarks" / "check_study.tsv", "s\tmax_rss\n1.5\t-\n")
    storage.write_text(folder / "logs" / f"{job}.log", "100%\npeak memory 220.4 MiB\n")
    write_report(config, folder / "report.html")
    page = (folder / "report.html").read_text()
    # Without a plan: dashes; the peak is what the process saw, not what Snakemake happened to see.
    assert '<td class="t">fit_encoder</td><td>1</td><td>–</td><td>12.5</td><td>–</td><td>220</td><td>–</td>' in page
    jobs = [{"name": job, "seconds": 10.0, "ram": 231 * 2**20}, {"name": "check_study", "seconds": None, "ram": None}]
    storage.write_json(
        folder / "plan.json", {"jobs": jobs, "made": "2026-01-02", "calibration": {}, "notes": ["Mind."]}
    )
    write_report(config, folder / "report.html")
    page = (folder / "report.html").read_text()
    assert '<td class="t">fit_encoder</td><td>1</td><td>10.0</td><td>12.5</td><td>231</td><td>220</td><td>1.05' in page
    assert '<td class="t">check_study</td><td>1</td><td>–</td><td>1.5</td><td>–</td><td>–</td><td>–</td>' in page
    assert "Planned on 2026-01-02" in page and "Mind." in page


# ----------------------------------------------------------------------------------------------------------- in earnest


@pytest.mark.slow
def test_a_study_is_planned_and_run_and_its_report_shows_both(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_toy(tmp_path / "data")
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(toy_config(tmp_path / "data", tmp_path / "results")))
    assert main(["plan", str(file), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["totals"]["seconds"] > 0 and plan["calibration"]["flops32"] > 0
    assert main(["run", str(file), "--cores", "1"]) == 0
    page = (tmp_path / "results" / "toy" / "report.html").read_text()
    (row,) = re.findall(r'<td class="t">fit_encoder</td>(.*?)</tr>', page)
    numbers = [float(cell) for cell in re.findall(r"<td>([\d.]+)</td>", row)]
    assert len(numbers) == 6
    assert 0.94 < numbers[-1] < 1.25, row


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small", "small-dual"])
def test_predicted_memory_is_that_which_is_measured(name, tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("plan_benchmark", ROOT / "benchmarks" / "plan" / "run.py")
    benchmark = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "plan_benchmark", benchmark)
    spec.loader.exec_module(benchmark)
    shape = next(shape for shape in benchmark.SHAPES["small"] if shape.name == name)
    rows = benchmark.measure(shape, tmp_path)
    ratios = {row["step"]: row["planned"] / row["measured"] for row in rows}
    # Libraries hold some percent more within a whole run of these tests than in a process of their own.
    assert 0.9 <= ratios["fit_encoder"] <= 1.2, ratios
    (fit,) = [row for row in rows if row["step"] == "fit_encoder"]
    assert "ulimit -v kept" in fit["limits"] and "FAILED" not in fit["limits"]
    assert np.median(list(ratios.values())) == pytest.approx(1.0, abs=0.2)
