"""The command ``brainenc``: study verbs for people, steps for the workflow.

``brainenc check|plan|run|view STUDY.yaml`` and ``brainenc train-pocket NAME`` are what users type. ``brainenc <step>
--input ... --output ...`` is what rules call: the options of a step are the parameters of its function, so it can be
imported and tested.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_type_hints

STEPS = (
    "check_study",
    "prepare_stimuli",
    "prepare_responses",
    "split_samples",
    "clean_responses",
    "estimate_ceiling",
    "extract_features",
    "fit_encoder",
    "fit_readout",
    "read_attention",
    "read_receptive_fields",
    "score_encoder",
    "partition_variance",
    "summarise_regions",
    "check_recovery",
    "paint_maps",
    "export_maps",
    "write_report",
)
STUDY_VERBS = ("check", "plan", "run", "view")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0 done, 1 refused input (one sentence on stderr), 2 wrong usage."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    _set_threads(words)
    from brainenc.core.types import DataError

    parser = _parser(words)
    options, rest = parser.parse_known_args(words)
    if rest and options.command != "run":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        if options.command in STUDY_VERBS:
            verbs = importlib.import_module("pipelines.study_verbs")
            verb: Callable[..., int] = getattr(verbs, f"{options.command}_study")
            if options.command == "plan":
                return verb(options.study, options.calibrate, options.json)
            return verb(options.study, rest) if options.command == "run" else verb(options.study)
        if options.command == "keys":
            print(importlib.import_module("pipelines.study_keys").reference(), end="")
            return 0
        if options.command == "models":
            models: Callable[..., int] = importlib.import_module("pipelines.study_verbs").list_models
            return models(options.study)
        if options.command == "train-pocket":
            asked = (options.name, options.steps, options.out, options.cache, options.resume, options.device)
            importlib.import_module("pipelines.train_pocket").train_pocket(*asked)
            return 0
        step = _step(options.command)
        step(**{name: getattr(options, name) for name in inspect.signature(step).parameters})
        _tell_peak()
    except DataError as error:
        print(f"brainenc {options.command}: {error}", file=sys.stderr)
        return 1
    return 0


def _tell_peak() -> None:
    """A step's last line, read by the report: Snakemake only looks at a job's memory now and then."""
    from brainenc.core.machine import peak_memory

    print(f"peak memory {peak_memory() / 2**20:.1f} MiB", file=sys.stderr)


def _step(name: str) -> Callable[..., None]:
    return getattr(importlib.import_module(f"pipelines.{name}"), name)


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("brainenc", description="Voxelwise encoding, from stimuli to mapped cortex.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    about = {
        "check": "validate a study and its data in seconds, without fitting",
        "plan": "predict memory, disk and time of every job, and refuse what cannot fit",
        "run": "run a study; further arguments go to snakemake (such as --cores 8 --dry-run)",
        "view": "print and open the report of a study",
    }
    for verb in STUDY_VERBS:
        asked_of = commands.add_parser(verb, help=about[verb])
        asked_of.add_argument("study", type=Path, help="study YAML")
        if verb == "plan":
            asked_of.add_argument("--calibrate", action="store_true", help="measure this machine anew, not once a day")
            asked_of.add_argument("--json", action="store_true", help="print the plan as JSON")
    # Only the step that is asked for is imported, so that `brainenc --help` is quick.
    asked = next((word for word in words if not word.startswith("-")), None)
    commands.add_parser("keys", help="print every key of a study, as Markdown")
    models = commands.add_parser("models", help="list the networks that a study needs, and how to get them")
    models.add_argument("study", type=Path, nargs="?", help="study YAML; without it, the pocket networks")
    pocket = commands.add_parser("train-pocket", help="make a pocket network anew, with card and log")
    pocket.add_argument("name", help="such as pocket-clip")
    pocket.add_argument("--steps", type=int, help="instead of the recipe's")
    pocket.add_argument("--out", type=Path, default=Path("build/pocket"), help="folder of the results")
    pocket.add_argument("--cache", type=Path, default=Path("build/pocket/cache"), help="folder of rendered scenes")
    pocket.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    pocket.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    for name in STEPS:
        sub = commands.add_parser(name, help=f"step of the workflow: {name.replace('_', ' ')}")
        sub.add_argument("--threads", type=int, help="threads of linear algebra")
        if name == asked:
            _add_options(sub, _step(name))
    return parser


def _add_options(parser: argparse.ArgumentParser, step: Callable[..., None]) -> None:
    parser.description = inspect.getdoc(step)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    hints = get_type_hints(step)
    for name, parameter in inspect.signature(step).parameters.items():
        option: dict[str, Any] = {"required": parameter.default is parameter.empty, "dest": name}
        if not option["required"]:
            option["default"] = parameter.default
        if hints[name] == list[Path]:
            option.update(type=Path, nargs="*")
        elif hints[name] == dict[str, Any]:
            option.update(type=json.loads, metavar="JSON")
        else:
            option.update(type=Path if hints[name] is Path else str)
        parser.add_argument(f"--{name.replace('_', '-')}", **option)


def _set_threads(words: Sequence[str]) -> None:
    """Before any numerical library is loaded: one pool of the size the scheduler granted."""
    if "--threads" in words[:-1]:
        for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM"):
            os.environ[f"{library}_NUM_THREADS"] = words[words.index("--threads") + 1]


if __name__ == "__main__":
    raise SystemExit(main())
