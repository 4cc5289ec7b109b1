"""The house plan holds: imports, names, lengths, forbidden calls, rules with steps, steps with tests, tools."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Pages of pipelines/ that several steps or the command line share; all others are steps.
SHARED = {
    "__init__",
    "fingerprints",
    "networks",
    "cli",
    "plan_features",
    "plan_fit",
    "plan_jobs",
    "plan_refusals",
    "plan_shapes",
    "plan_study",
    "plan_text",
    "study",
    "study_keys",
    "study_verbs",
    "samples",
    "report_charts",
    "report_text",
    "train_pocket",
}
LONGEST = 320

Check = Callable[[Path], list[str]]


# ---------------------------------------------------------------------------------- checks: tree -> faults, in words


def sources(root: Path) -> Iterator[Path]:
    """Python files of the library and of the steps."""
    for folder in ("brainenc", "pipelines"):
        yield from sorted((root / folder).rglob("*.py"))


@cache
def parsed(text: str) -> tuple[ast.AST, ...]:
    """All syntax nodes of a source text."""
    return tuple(ast.walk(ast.parse(text)))


def nodes(root: Path) -> Iterator[tuple[str, ast.AST]]:
    """Every syntax node of the sources, with its place."""
    for path in sources(root):
        for node in parsed(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)}", node


def steps(root: Path) -> set[str]:
    """Names of the step modules."""
    pages = {path.stem for path in (root / "pipelines").glob("*.py")}
    return {page for page in pages - SHARED if not page.startswith("_")}


def rules(root: Path) -> set[str]:
    """Names of the rules that run a step."""
    texts = [path.read_text(encoding="utf-8") for path in (root / "workflow" / "rules").glob("*.smk")]
    return {name for text in texts for name in re.findall(r"^\s*(?:rule|checkpoint)\s+(\w+)\s*:", text, re.MULTILINE)}


def vague_names(root: Path) -> list[str]:
    """Files and folders whose name says nothing about what they hold."""
    folders = ("brainenc", "pipelines", "workflow", "tests", "benchmarks")
    paths = [path for folder in folders for path in (root / folder).rglob("*")]
    vague = re.compile(r"(^|_)(utils?|helpers?|misc|common)$", re.IGNORECASE)
    return [str(path.relative_to(root)) for path in paths if path.suffix != ".pyc" and vague.search(path.stem)]


def long_files(root: Path) -> list[str]:
    """Files that do not fit a sitting and do not say why."""
    faults = []
    for path in sources(root):
        lines = path.read_text(encoding="utf-8").splitlines()
        excused = any(line.startswith("# Long because") for line in lines[:15])
        if len(lines) > LONGEST and not excused:
            faults.append(f"{path.relative_to(root)} has {len(lines)} lines")
    return faults


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def code_hidden_in_data(root: Path) -> list[str]:
    """Whatever would run code found in a data file."""
    picklers = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    faults = []
    for place, node in nodes(root):
        if any(name.split(".")[0] in picklers for name in _imported(node)):
            faults.append(f"{place} imports a pickler")
        if isinstance(node, ast.Attribute) and node.attr in {"read_pickle", "to_pickle", "unsafe_load", "full_load"}:
            faults.append(f"{place} calls {node.attr}")
        if isinstance(node, ast.Call):
            given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            if given.get("allow_pickle", False) is not False:
                faults.append(f"{place} allows pickle")
            if given.get("weights_only", True) is not True:
                faults.append(f"{place} does not load weights only")
            if ast.unparse(node.func) == "torch.load" and "weights_only" not in given:
                faults.append(f"{place} loads without weights_only=True, which older torch takes for False")
    return faults


def swallowed_errors(root: Path) -> list[str]:
    """Handlers that catch everything, interrupts included."""
    handlers = [(place, node) for place, node in nodes(root) if isinstance(node, ast.ExceptHandler)]
    return [f"{place} catches everything" for place, node in handlers if node.type is None]


def steps_that_know_steps(root: Path) -> list[str]:
    """Imports of one step by another: files pass between them, nothing else."""
    faults = []
    for step in sorted(steps(root)):
        for node in parsed((root / "pipelines" / f"{step}.py").read_text(encoding="utf-8")):
            met = {name.split(".")[1] for name in _imported(node) if name.startswith("pipelines.")}
            faults += [f"pipelines/{step}.py imports the step {name}" for name in sorted(met & steps(root))]
    return faults


def rules_and_steps_apart(root: Path) -> list[str]:
    """Rules without a step of their name, and steps without a rule."""
    if not rules(root):
        return []
    unruled = [f"pipelines/{step}.py has no rule (is it a shared page?)" for step in sorted(steps(root) - rules(root))]
    return [f"rule {rule} has no pipelines/{rule}.py" for rule in sorted(rules(root) - steps(root))] + unruled


def untested_steps(root: Path) -> list[str]:
    """Steps without a test file of their own."""
    if not rules(root):
        return []
    tested = {path.stem.removeprefix("test_") for path in (root / "tests" / "pipelines").glob("test_*.py")}
    return [f"tests/pipelines/test_{step}.py is missing" for step in sorted(steps(root) - tested)]


def science_in_the_graph(root: Path) -> list[str]:
    """Rules with a Python body, which nothing can import or test; a Snakefile that is no table of contents."""
    faults = []
    for path in sorted((root / "workflow" / "rules").glob("*.smk")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if re.match(r"\s+(script|run|notebook):|\s*import (numpy|torch)", line):
                faults.append(f"{path.relative_to(root)}:{number} holds {line.strip()!r}")
    contents = root / "workflow" / "Snakefile"
    if contents.exists() and len(contents.read_text(encoding="utf-8").splitlines()) >= 40:
        faults.append("workflow/Snakefile has 40 lines or more")
    return faults


def rooms_without_a_floor(root: Path) -> list[str]:
    """Rooms of the library that the import contract does not name: they could import anyone."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    floors = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    named = {room.strip(" ()") for floor in floors for room in re.split(r"[|:]", floor)}
    rooms = {f"brainenc.{page.parent.name}" for page in (root / "brainenc").glob("*/__init__.py")}
    return [f"{room} stands on no floor of the import contract in pyproject.toml" for room in sorted(rooms - named)]


# ------------------------------------------------------------------------ each check, and the twin that it must refuse

LONG = "\n" * LONGEST + "x = 1\n"
FLOORS = '[[tool.importlinter.contracts]]\ntype = "layers"\nlayers = ["brainenc.stats", "brainenc.core"]\n'
RULE = "rule fit_encoder:\n    shell:\n        'brainenc fit_encoder'\n"
# check: (files of a sound small tree, files that break it)
CHECKS: dict[Check, tuple[dict[str, str], list[dict[str, str]]]] = {
    vague_names: (
        {"brainenc/core/communities.py": "", "tests/test_a.py": ""},
        [
            {"brainenc/utils.py": ""},
            {"tests/misc/a.py": ""},
            {"pipelines/plot_helpers.py": ""},
            {"tests/common.py": ""},
        ],
    ),
    long_files: (
        {"brainenc/a.py": '"""Page."""\n# Long because it is a table.\n' + LONG, "brainenc/b.py": "\n" * LONGEST},
        [{"brainenc/a.py": LONG}, {"pipelines/a.py": "\n" * 20 + "# Long because late.\n" + LONG}],
    ),
    code_hidden_in_data: (
        {"brainenc/a.py": "np.load(path, allow_pickle=False); torch.load(path, weights_only=True)  # no pickle"},
        [
            {"brainenc/a.py": line}
            for line in (
                "import pickle",
                "def f():\n    from pickle import loads",
                "import joblib.numpy_pickle",
                "np.load(path, allow_pickle=True)",
                "np.load(path, allow_pickle=allowed)",
                "torch.load(path, weights_only=False)",
                "torch.load(path)",
                "pd.read_pickle(path)",
                "yaml.unsafe_load(text)",
            )
        ],
    ),
    swallowed_errors: (
        {"brainenc/a.py": "try:\n    x\nexcept ValueError:\n    pass"},
        [{"pipelines/a.py": "try:\n    x\nexcept:\n    pass"}],
    ),
    steps_that_know_steps: (
        {"pipelines/fit_encoder.py": "from pipelines.samples import load_samples", "pipelines/score_encoder.py": ""},
        [
            {"pipelines/score_encoder.py": "from pipelines.fit_encoder import fit_encoder"},
            {"pipelines/score_encoder.py": "def f():\n    from pipelines import fit_encoder"},
            {"pipelines/score_encoder.py": "import pipelines.fit_encoder"},
        ],
    ),
    rules_and_steps_apart: (
        {
            "workflow/rules/a.smk": RULE,
            "pipelines/fit_encoder.py": "",
            "pipelines/_page.py": "",
            "pipelines/cli.py": "",
        },
        [{"workflow/rules/b.smk": "rule paint_maps:\n"}, {"pipelines/paint_maps.py": ""}],
    ),
    untested_steps: (
        {"workflow/rules/a.smk": RULE, "pipelines/fit_encoder.py": "", "tests/pipelines/test_fit_encoder.py": ""},
        [{"pipelines/paint_maps.py": ""}],
    ),
    science_in_the_graph: (
        {"workflow/rules/a.smk": RULE, "workflow/Snakefile": "\n" * 39},
        [
            {"workflow/rules/a.smk": "rule a:\n    script:\n        'a.py'\n"},
            {"workflow/rules/a.smk": "rule a:\n    run:\n        f()\n"},
            {"workflow/rules/a.smk": "import numpy as np\n"},
            {"workflow/Snakefile": "\n" * 40},
        ],
    ),
    rooms_without_a_floor: (
        {"pyproject.toml": FLOORS, "brainenc/stats/__init__.py": "", "brainenc/core/__init__.py": ""},
        [{"brainenc/decoders/__init__.py": ""}],
    ),
}


def build(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_house_has_none_of(check):
    assert not check(ROOT), "\n".join(check(ROOT))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_each_check_passes_a_sound_tree_and_refuses_a_broken_one(check, tmp_path):
    sound, broken = CHECKS[check]
    for i, files in enumerate(broken):
        build(tmp_path / str(i), sound)
        assert check(tmp_path / str(i)) == []
        build(tmp_path / str(i), files)
        assert len(check(tmp_path / str(i))) == 1, files


def test_the_checks_read_this_project():
    assert len(list(sources(ROOT))) > 20 and "fit_encoder" in steps(ROOT)
    assert {path.stem for path in (ROOT / "pipelines").glob("*.py")} >= SHARED


# ------------------------------------------------------------------------------------------------ the import contract


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages that lie in ``root``."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)


def test_imports_keep_the_contract():
    run = lint_imports(ROOT)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    "page, line, contract",
    [
        ("brainenc/core/align.py", "import brainenc.stats", "Storeys and floors"),
        ("brainenc/stats/metrics.py", "def f():\n    from brainenc.encoders import ridge", "Storeys and floors"),
        ("brainenc/datasets/images.py", "import brainenc.features", "Storeys and floors"),
        ("brainenc/stats/metrics.py", "import brainenc.nn", "Storeys and floors"),
        ("brainenc/core/align.py", "import pipelines.cli", "Storeys and floors"),
        ("brainenc/encoders/ridge.py", "import argparse", "The library knows no workflow"),
        ("brainenc/surfaces/mesh.py", "import snakemake", "The library knows no workflow"),
    ],
)
def test_the_contract_refuses_a_forbidden_import(tmp_path, page, line, contract):
    """A copy of the house without furniture, but with one forbidden import."""
    packages = {path.relative_to(ROOT) for path in sources(ROOT)}
    build(tmp_path, {str(path): "" for path in packages})
    build(tmp_path, {"pyproject.toml": (ROOT / "pyproject.toml").read_text(encoding="utf-8"), page: line})
    run = lint_imports(tmp_path)
    broken = [text for text in run.stdout.splitlines() if text.endswith("BROKEN")]
    assert run.returncode == 1 and any(text.startswith(contract) for text in broken), run.stdout + run.stderr


# -------------------------------------------------------------------------------------------------------------- tools


@pytest.mark.parametrize("command", [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)], ids=" ".join)
def test_the_tools_find_nothing(command):
    run = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
