"""What people type: check, plan, run and view a study."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from brainenc.core.machine import look
from brainenc.core.provenance import plain
from brainenc.core.share import find_shared
from brainenc.core.storage import write_json
from brainenc.core.types import DataError
from pipelines.study import Study, load_study


def check_study(path: Path) -> int:
    """Validate configuration and data; prints what the study would do."""
    from pipelines.check_study import inspect_study

    study = load_study(path)
    inspect_study(study)
    print(f"{path} is sound: {len(study.subjects)} subjects, {len(study.models)} models each.")
    for model in study.models:
        print(f"  {model.label}")
    print(f"Next: brainenc run {path}")
    return 0


def plan_study(path: Path, calibrate: bool = False, as_json: bool = False) -> int:
    """Print what every job will take and write it beside the results; 1 if something cannot fit."""
    from pipelines import plan_study as planning
    from pipelines.plan_text import as_text

    study = load_study(path)
    plan = planning.plan_study(study, again=calibrate)
    planning.save_plan(plan)
    print(json.dumps(plain(planning.as_data(plan)), indent=2) if as_json else as_text(plan))
    for refusal in plan.refusals:
        print(f"brainenc plan: {refusal}", file=sys.stderr)
    return 1 if plan.refusals else 0


def list_models(path: Path | None = None) -> int:
    """Print the networks that a study needs, or all pocket networks; 1 if one is not here."""
    from pipelines import networks

    found = networks.pocket_needs() if path is None else networks.needs(load_study(path))
    print(networks.table(found) if found else f"{path} needs no network.")
    missing = [need for need in found if need.cure]
    if missing:
        print(f"brainenc models: {len(missing)} of {len(found)} are not here, see the last column.", file=sys.stderr)
    return 1 if missing else 0


def run_study(path: Path, snakemake_arguments: Sequence[str] = ()) -> int:
    """Check the study, run the workflow, and leave a report of what exists, even if a step failed."""
    from pipelines.check_study import inspect_study

    study = load_study(path)
    inspect_study(study)
    only_told = ("-n", "--dry-run", "--dryrun", "--lint", "--unlock", "--summary")
    planning = any(word in snakemake_arguments for word in only_told)
    arguments = list(snakemake_arguments)
    configuration = [path, *_fitting(study, keep=not planning)]
    if not any(word.split("=")[0] in ("-c", "--cores", "-j", "--jobs") for word in arguments):
        arguments += ["--cores", str(look(study.folder).n_cores)]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(find_shared("workflow/Snakefile"))]
    # Rules call `brainenc` and find it beside the interpreter that runs now.
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
    report = study.folder / "report.html"
    before = report.stat().st_mtime_ns if report.exists() else None
    command += ["--configfile", *map(str, configuration), *arguments]
    if planning:
        return subprocess.run([*command, "--nolock"], env=environment).returncode
    with _only_run_of(study) as held:
        status = subprocess.run([*command, "--nolock"], env=environment, pass_fds=[held]).returncode
    if status:
        _report_what_exists(study)
        print(f"\nSome steps failed. The report says which, and why: {report.resolve()}", file=sys.stderr)
        print("After mending the cause, run the same command again: finished steps are kept.", file=sys.stderr)
        return status
    if before is not None and report.stat().st_mtime_ns == before:
        print(f"\nNothing to do: study {study.config['study']!r} is complete and up to date.")
    if report.exists():
        print(f"\nReport: {report.resolve()}")
    return 0


def _fitting(study: Study, keep: bool = True) -> list[Path]:
    """Refuse a study that is known not to fit here; else keep its plan, and narrow blocks of targets where needed.

    Nothing is measured for it. Returns configuration that comes after the study's own; `DataError` with one sentence
    per job that cannot fit.
    """
    from pipelines.plan_study import plan_study, save_plan

    plan = plan_study(study, measure=False)
    if plan.refusals:
        raise DataError(" ".join(plan.refusals))
    if keep:
        save_plan(plan, anew=False)
    if not plan.widths:
        return []
    narrower = study.folder / "narrower.json"
    write_json(narrower, {"encoders": {encoder: {"n_targets_batch": width} for encoder, width in plan.widths}})
    return [narrower]


@contextmanager
def _only_run_of(study: Study) -> Iterator[int]:
    """Hold the study's lock, which the system lets go when its holder dies, so that a killed run leaves none behind.

    Snakemake inherits it: what is left of a killed run is waited for.
    """
    study.folder.mkdir(parents=True, exist_ok=True)
    with open(study.folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another run of study {study.config['study']!r} is at work: waiting for it to end.", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in study.folder.rglob(".partial-*"):
            leftover.unlink(missing_ok=True)
        yield lock.fileno()


def view_study(path: Path) -> int:
    """Print the path of the report and open it in a browser where there is one."""
    report = load_study(path).folder / "report.html"
    if not report.exists():
        print(f"No report yet at {report}. Next: brainenc run {path}", file=sys.stderr)
        return 1
    print(report.resolve())
    if os.environ.get("DISPLAY") or sys.platform == "darwin":
        webbrowser.open(report.resolve().as_uri())
    return 0


def _report_what_exists(study: Study) -> None:
    from pipelines.write_report import write_report

    report = study.folder / "report.html"
    write_report(study.config, report)
    # Older than every input: to Snakemake this is no finished report, and the next run goes on.
    os.utime(report, (1, 1))
