"""Snakemake keeps to ``--cores``, on which the memory that ``brainenc plan`` promises to hold at a time depends."""

from __future__ import annotations

from pathlib import Path

from tests.workflow.snakemake_runs import snakemake

# The three jobs become ready when the first one ends: the case that versions 9.10 to 9.15 got wrong (issue 3913).
SNAKEFILE = """
rule final:
    input: "1.txt", "2.txt", "3.txt"
rule first:
    output: "first"
    shell: "touch {output}"
rule later:
    input: "first"
    output: "{number}.txt"
    shell: "date +%s.%N > {output}; sleep 1; date +%s.%N >> {output}"
"""


def test_one_core_runs_one_job_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    done = snakemake("--cores", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    spans = sorted(tuple(map(float, path.read_text().split())) for path in tmp_path.glob("?.txt"))
    assert len(spans) == 3
    assert all(end <= begin for (_, end), (begin, _) in zip(spans, spans[1:], strict=False))
