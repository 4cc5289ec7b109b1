"""write_report: one file, offline, whole, and honest about what is missing."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pandas as pd
import pytest

from brainenc.core import storage
from pipelines import report_text
from pipelines.study import resolve_study
from pipelines.write_report import write_report

SECTIONS = ["data", "stimuli", "split", "ceiling", "fit", "maps", "regions", "resources", "methods", "provenance"]
LOADED = re.compile(
    r"""(?:src|href|xlink:href|srcset|action)\s*=\s*["']?\s*(?!#|data:)([^"'\s>]+)|url\((?!["']?(?:#|data:))"""
)


@pytest.fixture(scope="module")
def page(toy):
    return (toy.folder / "report.html").read_text(encoding="utf-8")


def broken(toy, tmp_path, *removed):
    """The report of a copy of the results in which some files are missing."""
    shutil.copytree(toy.study.config["results"], tmp_path / "results")
    config = {**toy.study.config, "results": str(tmp_path / "results")}
    folder = resolve_study(config).folder
    for name in removed:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_report(config, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere(page):
    assert not LOADED.search(page)
    assert "<script" not in page and "@import" not in page
    for twin in ('<img src="https://x.org/a.png">', "<link href='style.css'>", "a{background:url(x.png)}"):
        assert LOADED.search(page + twin)


def test_it_is_small_and_well_formed(page):
    assert len(page.encode()) < 20e6
    for tag in ("table", "section", "figure", "details", "div", "svg", "main", "body", "html"):
        assert page.count(f"<{tag}>") + page.count(f"<{tag} ") == page.count(f"</{tag}>"), tag
    assert "{{" not in page and "{%" not in page and "nan" not in re.sub(r"<[^>]*>", " ", page).split()


def test_every_section_has_its_place_and_its_link(page):
    for anchor in [*SECTIONS, "comparison", "partition", "failures"]:
        assert f'<h2 id="{anchor}">' in page and f'<a href="#{anchor}">' in page
    assert 'id="recovery"' not in page  # the toy is not planted by the data set of that name


def test_subjects_models_and_regions_are_all_there(toy, page):
    text = re.sub(r"<[^>]*>", " ", page)
    for model in toy.study.models:
        assert model.label in text
    for name in ("A", "B", "noise", "all targets"):
        assert f'<td class="t">{name}</td>' in page
    assert '<td class="t">01</td>' in page


def test_unusable_targets_are_counted_on_top_and_in_the_data_card(page):
    assert re.search(r"masked targets</span><b>2</b><span>1 empty samples dropped", page)
    row = re.search(r'<td class="t">01</td><td>180</td><td>60</td><td>24</td>.*?</tr>', page, re.S).group()
    assert re.findall(r"<td>(\d+)</td>", row)[-4:] == ["1", "1", "1", "0"]


def test_numbers_are_those_of_the_tables(toy, page):
    table = storage.read_table(toy.subject / "regions.tsv").set_index(["model", "region"])
    row = table.loc[("ridge/a", "A")]
    assert f"<td>{row['correlation']:.2f}</td><td>{row['lower']:.2f} to {row['upper']:.2f}</td>" in page


def test_the_methods_text_says_what_was_done(page):
    text = re.search(r"<blockquote>(.*?)</blockquote>", page, re.S).group(1)
    for phrase in (
        "Within each session",
        "polynomial of order 1",
        "z-scored",
        "averaged",
        "99 permutations",
        "one factorisation per fold",
    ):
        assert phrase in text


def test_a_whole_study_has_no_failures(page):
    assert "None: every part of the study was computed." in page
    assert "incomplete" not in re.search(r'<section class="strip".*?</section>', page, re.S).group()


@pytest.mark.parametrize(
    "name",
    [
        "sub-01/regions.tsv",
        "sub-01/comparisons.tsv",
        "sub-01/quality.json",
        "sub-01/figures",
        "sub-01/derivatives",
        "sub-01/encoder-banded_features-a+b/partition.h5",
        "sub-01/encoder-ridge_features-a/encoder.json",
        "stimuli.tsv",
    ],
)
def test_whatever_is_missing_is_listed_as_a_failure(toy, tmp_path, name):
    page = broken(toy, tmp_path, name)
    failures = page[page.index('id="failures"') :]
    assert "1 expected files are missing" in failures and name in failures
    assert re.search(r"incomplete</span><b>1</b>", page)


def test_nothing_but_the_study_still_makes_a_page(toy, tmp_path):
    page = broken(toy, tmp_path, "sub-01", "features", "stimuli.tsv")
    assert page.rstrip().endswith("</html>") and "expected files are missing" in page


def test_the_log_of_what_failed_is_quoted(toy, tmp_path):
    config = {**toy.study.config, "results": str(tmp_path)}
    folder = resolve_study(config).folder
    storage.write_text(
        folder / "logs" / "fit_encoder" / "sub-01.log", "100%\nbrainenc fit_encoder: no <b>luck</b>: rest.\n"
    )
    storage.write_text(folder / "logs" / "check_study.log", "")
    write_report(config, folder / "report.html")
    page = (folder / "report.html").read_text()
    assert "brainenc fit_encoder: no &lt;b&gt;luck&lt;/b&gt;: rest." in page
    assert "check_study.log" not in page


def test_words_of_the_study_cannot_become_markup(toy, tmp_path):
    shutil.copytree(toy.study.config["results"], tmp_path / "results")
    config = {**toy.study.config, "results": str(tmp_path / "results")}
    folder = resolve_study(config).folder
    quality = storage.read_json(folder / "sub-01" / "quality.json")
    storage.write_json(folder / "sub-01" / "quality.json", {**quality, "units": "<script>alert(1)</script>"})
    write_report(config, folder / "report.html")
    assert "<script" not in (folder / "report.html").read_text()


def test_a_study_of_noise_or_of_one_penalty_has_no_edge_to_report():
    # JSON writes NaN as null: nothing is at stake in noise, and a single penalty has no edge.
    edges = {"lower": None, "upper": None, "lower_at_stake": None, "upper_at_stake": None}
    card = {"diagnostics": {"alpha_edges": edges, "alphas": [10.0], "extended": False}}
    (row,) = report_text.diagnostics({"01": {"ridge/a": card}})
    assert row["lower"] is row["upper"] is row["upper_predictive"] is None
    (item,) = report_text.verdict(None, pd.DataFrame(), [row], pd.DataFrame(), {}, [])
    assert (item["value"], item["state"]) == ("–", "good")
    # One subject in whom something is at stake still counts.
    other = {"diagnostics": {**card["diagnostics"], "alpha_edges": {**edges, "upper_at_stake": 0.2}}}
    (row,) = report_text.diagnostics({"01": {"ridge/a": card}, "02": {"ridge/a": other}})
    (item,) = report_text.verdict(None, pd.DataFrame(), [row], pd.DataFrame(), {}, [])
    assert (item["value"], item["state"]) == ("20.0 %", "warn")


def test_a_study_without_any_score_still_has_a_verdict(toy):
    scores = {"correlation": np.nan, "normalised": np.nan, "significant": 0.0}
    regions = pd.DataFrame([{"subject": "01", "model": "ridge/a", "region": "all targets", **scores}])
    strip = report_text.verdict(toy.study, regions, [], pd.DataFrame(), {}, [])
    assert strip[0]["value"] == "ridge/a" and strip[1]["value"] == "–"


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ({"training": 3}, "statistics of training samples."),
        ({"training": 2, "own rows": 1}, "of all samples in a session without any"),
        ({"all rows": 3}, "those tested later included"),
    ],
)
def test_the_methods_text_says_whose_statistics_scaled_the_responses(toy, sources, said):
    text = report_text.methods(toy.study, {"01": {"statistics_from": sources}}, {})
    assert said in text and "masking" not in text
