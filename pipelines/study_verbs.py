"""What people type: check, run and view a study."""

from __future__ import annotations

import os
import subprocess
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from brainenc.core.share import find_shared
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


def run_study(path: Path, snakemake_arguments: Sequence[str] = ()) -> int:
    """Run the workflow; afterwards, even of a failed run, there is a report of what exists."""
    study = load_study(path)
    arguments = list(snakemake_arguments)
    planning = any(word in arguments for word in ("-n", "--dry-run", "--dryrun", "--lint", "--unlock", "--summary"))
    if not any(word.split("=")[0] in ("-c", "--cores", "-j", "--jobs") for word in arguments):
        arguments += ["--cores", str(os.cpu_count() or 1)]
    if not any(word.split("=")[0] in ("--profile", "--workflow-profile") for word in arguments):
        arguments += ["--profile", str(find_shared("workflow/profiles/default"))]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(find_shared("workflow/Snakefile"))]
    # Rules call `brainenc` and find it beside the interpreter that runs now.
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
    report = study.folder / "report.html"
    before = report.stat().st_mtime_ns if report.exists() else None
    status = subprocess.run([*command, "--configfile", str(path), *arguments], env=environment).returncode
    if planning:
        return status
    if status:
        _report_what_exists(study)
        print(f"\nSome steps failed. The report says which, and why: {report.resolve()}", file=sys.stderr)
        print("After mending the cause, run the same command again: finished steps are kept.", file=sys.stderr)
        return status
    if before is not None and report.stat().st_mtime_ns == before:
        print(f"\nNothing to do: study {study.config['study']!r} is complete and up to date.")
    print(f"\nReport: {report.resolve()}")
    return 0


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

    write_report(study.config, study.folder / "report.html")
