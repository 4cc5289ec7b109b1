"""What the documentation tells people to type exists, parses and works."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from brainenc.pocket import NETWORKS
from pipelines.cli import STEPS, STUDY_VERBS, _parser, main
from pipelines.study import load_study, resolve_study

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "atlases").rglob("*.md"),
        ROOT / "config" / "README.md",
        ROOT / "results" / "README.md",
    ]
)
WHOLE = {
    "study": "documented",
    "dataset": {"class": "folder", "root": "data"},
    "subjects": ["01"],
    "split": {"class": "column"},
    "features": {"words": {"class": "sentence"}},
    "encoders": {"ridge": {"class": "ridge"}},
}


def blocks(page: Path, *languages: str) -> list[str]:
    """Fenced blocks of a page in one of the languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    return [text for language, text in found if language in languages]


def cases(*languages: str) -> list[Any]:
    return [
        pytest.param(text, id=f"{page.relative_to(ROOT)}-{i}")
        for page in PAGES
        for i, text in enumerate(blocks(page, *languages))
    ]


def commands() -> list[Any]:
    """Command lines of shell blocks, and those in running text between backticks."""
    found: dict[str, Path] = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for block in blocks(page, "bash", "sh", "console", "") for line in block.splitlines()]
        lines += re.findall(r"`((?:brainenc|make|snakemake) [^`\n]*)`", text)
        for line in lines:
            words = line.split(" #")[0].strip().removeprefix("$ ")
            if re.match(r"(brainenc|make|snakemake|\.venv/bin/\w+)\b", words):
                found.setdefault(words, page)
    return [pytest.param(words, id=words) for words in found]


def check_command(words: list[str]) -> None:
    """Raise AssertionError unless the command exists and takes these words."""
    program, *rest = words
    if program == "make":
        for target in (word for word in rest if "=" not in word and not word.startswith("-")):
            done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    elif program == "brainenc":
        others = ("keys", "models", "train-pocket")
        assert rest and rest[0] in (*STUDY_VERBS, *STEPS, *others), words
        if rest[0] in others:
            try:
                options = _parser(rest).parse_args(rest)
            except SystemExit:
                raise AssertionError(f"brainenc refuses {words}") from None
            assert rest[0] != "train-pocket" or options.name in (*NETWORKS, "NAME"), words
        if rest[0] in STUDY_VERBS:
            study = next((word for word in rest[1:] if not word.startswith("-")), None)
            assert study is not None, f"no study in {words}"
            assert rest[0] == "run" or len(rest) == 2, f"too much in {words}"
            if (ROOT / study).parent.name in ("config", "studies"):
                load_study(ROOT / study)
    elif program == "snakemake":
        assert shutil.which("snakemake") or (ROOT / ".venv" / "bin" / "snakemake").exists()
        for word in rest:
            if word.endswith(".yaml") and (ROOT / word).parent.name in ("config", "studies"):
                assert (ROOT / word).is_file(), word


@pytest.mark.parametrize("line", commands())
def test_every_command_of_the_documentation_exists(line):
    check_command(shlex.split(line))


@pytest.mark.parametrize(
    "line",
    [
        "brainenc chek study.yaml",
        "make dmeo",
        "brainenc check",
        "brainenc view a.yaml b",
        "brainenc train-pocket pocket-klip",
        "brainenc models a.yaml b",
    ],
)
def test_a_command_that_does_not_exist_would_be_found(line):
    with pytest.raises(AssertionError):
        check_command(shlex.split(line))


@pytest.mark.parametrize("text", cases("yaml"))
def test_every_study_of_the_documentation_is_valid(text):
    given = yaml.safe_load(text)
    assert isinstance(given, dict) and set(given) <= {*WHOLE, *resolve_study(WHOLE).config}
    resolved = resolve_study({**WHOLE, **given}).config
    assert all(resolved[key] for key in given)


def test_a_study_with_a_wrong_key_would_be_found():
    with pytest.raises(ValueError, match="unknown key 'colum'"):
        resolve_study({**WHOLE, "split": {"class": "column", "colum": "split"}})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_local_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page):
    """Paths in backticks that begin with a folder of the project."""
    for path in re.findall(r"`((?:brainenc|pipelines|workflow|config|docs|tests|atlases)/[\w./-]+)`", page.read_text()):
        assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_the_example_data_are_written_by_the_example_and_pass_the_check(tmp_path, monkeypatch, capsys):
    page = ROOT / "docs" / "bring-your-own-data.md"
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks(page, "python")[0], str(page), "exec"), {})
    study = {**WHOLE, **yaml.safe_load(blocks(page, "yaml")[0])}
    study["results"] = str(tmp_path / "results")
    Path("study.yaml").write_text(yaml.safe_dump(study))
    assert main(["check", "study.yaml"]) == 0, capsys.readouterr().err
    assert "is sound" in capsys.readouterr().out


def test_the_readme_shows_the_two_commands():
    first = blocks(ROOT / "README.md", "bash")[0]
    assert [line.split()[:2] for line in first.splitlines()] == [["make", "demo"], ["make", "test"]]
