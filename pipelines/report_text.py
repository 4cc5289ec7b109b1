"""Words and small tables of the report, from the facts that the steps wrote."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import yaml

from pipelines.study import Study

_SOLVERS = {
    "exact": "scores of all penalties from one factorisation per fold, exact to rounding",
    "himalaya": "himalaya; Dupré la Tour et al. 2022, doi:10.1016/j.neuroimage.2022.119728",
}


def _solver(entry: dict[str, Any]) -> str:
    """Who searched the penalties; kernels that are not linear are himalaya's."""
    return str(entry.get("solver", "himalaya" if entry["class"] == "kernel_ridge" else "exact"))


def number(value: Any, digits: int = 2) -> str:
    """A number as text; a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return f"{value:.{digits}f}"


def percent(value: Any, digits: int = 0) -> str:
    """A share as per cent; a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f} %"


def verdict(
    study: Study,
    regions: pd.DataFrame,
    diagnostics: list[dict[str, Any]],
    recovery: pd.DataFrame,
    quality: dict[str, Any],
    missing: list[str],
) -> list[dict[str, str]]:
    """The strip on top: what was found, and what a sceptic should look at first."""
    strip = []
    if len(regions):
        whole = regions[regions["region"] == "all targets"].groupby("model", sort=False)
        means = whole[["correlation", "normalised", "significant"]].mean()
        # Without any score (predictions that do not vary) no model is best: the first stands there, with a dash.
        best = means["correlation"].fillna(-math.inf).idxmax()
        score, share = (float(means.loc[best, name]) for name in ("normalised", "significant"))
        rate = f"FDR {study.config['statistics']['fdr']:g}"
        strip += [
            _item("best model", best, "good", "highest mean correlation on the test samples, over all targets"),
            _item("normalised score", number(score), "warn" if score <= 0 else "good", "r / ceiling, reliable targets"),
            _item("significant targets", percent(share), "good" if share > 0 else "warn", rate),
        ]
    if diagnostics:
        edge = _worst([row[key] for row in diagnostics for key in ("lower", "upper_predictive")])
        state = "good" if edge is None or edge < 0.05 else "warn"
        strip.append(_item("alpha at grid edge", percent(edge, 1), state, "worst model, predictive targets"))
    if quality:
        masked = sum(q["n_unusable_targets"] for q in quality.values())
        dropped = sum(q["n_nan_samples"] for q in quality.values())
        note = f"{dropped} empty samples dropped" if dropped else "no empty samples"
        strip.append(_item("masked targets", str(masked), "warn" if masked else "good", note))
    if len(recovery):
        passed = int(recovery["passed"].astype(bool).sum())
        state = "good" if passed == len(recovery) else "bad"
        strip.append(_item("planted truth", f"{passed} of {len(recovery)}", state, "recovery checks passed"))
    if missing:
        strip.append(_item("incomplete", str(len(missing)), "bad", "files missing: see Failures"))
    return strip


def _item(label: str, value: str, state: str, note: str) -> dict[str, str]:
    return {"label": label, "value": value, "state": state, "note": note}


def group_table(regions: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean over subjects and range, by region and model."""
    if not len(regions):
        return []
    rows = []
    for (region, model), part in regions.groupby(["region", "model"], sort=False):
        rows.append(
            {
                "region": region,
                "model": model,
                "n_subjects": len(part),
                "n_targets": part["n_targets"].mean(),
                "correlation": part["correlation"].mean(),
                "low": part["correlation"].min(),
                "high": part["correlation"].max(),
                "r2": part["r2"].mean(),
                "ceiling": part["ceiling"].mean(),
                "normalised": part["normalised"].mean(),
                "significant": part["significant"].mean(),
                "identified": part["identified"].mean(),
                "chance": part["chance"].mean(),
            }
        )
    return rows


def group_comparisons(comparisons: pd.DataFrame) -> list[dict[str, Any]]:
    """Paired differences: mean over subjects, and in how many the interval excludes zero."""
    if not len(comparisons):
        return []
    rows = []
    for (a, b, region), part in comparisons.groupby(["model_a", "model_b", "region"], sort=False):
        above, below = int((part["lower"] > 0).sum()), int((part["upper"] < 0).sum())
        row = {"a": a, "b": b, "region": region, "n": len(part), "above": above, "below": below}
        rows.append(
            {**row, "difference": part["difference"].mean(), "low": part["lower"].mean(), "high": part["upper"].mean()}
        )
    return rows


def diagnostics(cards: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Alpha edge shares by model that has penalties, the worst subject first in each number."""
    by_model: dict[str, list[dict[str, Any]]] = {}
    for subject_cards in cards.values():
        for model, card in subject_cards.items():
            if card is not None and "alpha_edges" in card["diagnostics"]:
                by_model.setdefault(model, []).append(card["diagnostics"])
    return [
        {
            "model": model,
            "lower": _worst([d["alpha_edges"]["lower_at_stake"] for d in found]),
            "upper": _worst([d["alpha_edges"]["upper"] for d in found]),
            "upper_predictive": _worst([d["alpha_edges"]["upper_at_stake"] for d in found]),
            "low": min(min(d["alphas"]) for d in found),
            "high": max(max(d["alphas"]) for d in found),
            "extended": any(d.get("extended", False) for d in found),
        }
        for model, found in by_model.items()
    ]


def trainings(cards: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """How the training of each encoder went that is trained by gradient, a row for each subject."""
    return [
        {"model": model, "subject": subject, **card["diagnostics"]}
        for subject, subject_cards in cards.items()
        for model, card in subject_cards.items()
        if card is not None and "best_epoch" in card["diagnostics"]
    ]


def _worst(shares: list[float | None]) -> float | None:
    """The largest share; None where none is defined: a single penalty has no edge, noise has nothing at stake."""
    return max((share for share in shares if share is not None), default=None)


def alpha_histograms(cards: dict[str, dict[str, Any]]) -> dict[str, tuple[list[float], list[float]]]:
    """Share of targets per penalty, of the first subject that has it."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for subject_cards in cards.values():
        for model, card in subject_cards.items():
            if card is not None and model not in found and "alpha_shares" in card["diagnostics"]:
                found[model] = (card["diagnostics"]["alphas"], card["diagnostics"]["alpha_shares"])
    return found


def pocket_networks(config: dict[str, Any]) -> list[str]:
    """Names of the pocket networks that the data set and the feature spaces use, sorted."""
    named = [config["dataset"].get("network"), *(entry.get("model") for entry in config["features"].values())]
    return sorted({name for name in named if str(name).startswith("pocket-")})


def methods(study: Study, quality: dict[str, Any], cards: dict[str, dict[str, Any]]) -> str:
    """Text for a methods section, of what was really done."""
    config = study.config
    split, responses, statistics = config["split"], config["responses"], config["statistics"]
    sentences = [f"Responses of {len(study.subjects)} subject(s) were analysed with brainenc."]
    within = responses["within"]
    if within and (responses["zscore"] or responses["detrend"] is not None):
        steps = []
        if responses["detrend"] is not None:
            steps.append(f"detrended (polynomial of order {responses['detrend']})")
        if responses["zscore"]:
            steps.append("z-scored")
        sentences.append(
            f"Within each {within}, responses were {' and '.join(steps)} "
            f"with statistics of {_scaling(quality, within)}."
        )
    if responses["average"]:
        sentences.append("Repetitions of a stimulus were averaged.")
    how = {"column": "by a column of the stimulus table", "stimulus": "by stimulus", "run": "by run"}[split["class"]]
    n_folds = max((len(card["folds"]) for c in cards.values() for card in c.values() if card), default=0)
    sentences.append(
        f"Samples were split {how} into training and test ({n_folds} outer fold(s)); test samples took no part in "
        "reducing or scaling features, or in the choice of penalties. Targets that are constant or miss a measurement, "
        "in any sample, were left out."
    )
    for name, entry in config["features"].items():
        arguments = ", ".join(
            f"{k} {_words(v)}" for k, v in entry.items() if k not in ("class", "batch_size") and v is not None
        )
        sentences.append(f"Feature space {name}: {entry['class']}" + (f" ({arguments})." if arguments else "."))
    if pocket := pocket_networks(config):
        sentences.append(f"Pocket networks are small networks trained on drawn scenes: {', '.join(pocket)}.")
    for name, entry in config["encoders"].items():
        kind = {
            "ridge": "ridge regression with one penalty per target",
            "banded": "banded ridge regression with one penalty per band and target",
            "kernel_ridge": f"{entry.get('kernel', 'rbf')} kernel ridge regression with one penalty per target",
        }.get(entry["class"], entry["class"])
        if name in study.trained:
            sentences.append(_trained(name, entry))
            continue
        how = {"loo": "leave-one-out", "gcv": "generalised cross-validation"}.get(
            entry.get("cv", ""), "grouped cross-validation"
        )
        sentences.append(
            f"Encoder {name}: {kind}, chosen by {how} inside the training samples ({_SOLVERS[_solver(entry)]})."
        )
    block = statistics["block"]
    unit = "test stimuli within a fold" if block <= 1 else f"blocks of {block} neighbouring test samples within a fold"
    sentences.append(
        "Scores are Pearson correlations of predicted and measured held-out responses, computed within each fold and "
        f"averaged. P-values come from {statistics['n_permutations']} permutations of {unit}, corrected to a "
        f"false discovery rate of {statistics['fdr']:g} (Benjamini-Hochberg); intervals from "
        f"{statistics['n_bootstrap']} bootstrap samples of the same units."
    )
    sentences.append(
        "Noise ceilings were estimated from repetitions (noise variance: unbiased variance over repetitions; "
        f"signal variance: variance of means minus its noise share). Scores were normalised only where the ceiling of "
        f"r2 exceeded {config['ceiling']['floor']:g}."
    )
    return " ".join(sentences)


def _trained(name: str, entry: dict[str, Any]) -> str:
    """Sentence about an encoder that is trained by gradient."""
    readout = {
        "spatial_feature": "a map of the picture times a tuning to channels per target",
        "gaussian": "a Gaussian receptive field times a tuning to channels per target",
        "semantic": "a map that moves with the picture times a tuning to channels per target",
    }
    queries = entry.get("queries", "regions")
    kind = f"cross-attention of learned queries ({queries}) to tokens, linear weights per target"
    if entry["class"] == "factorised":
        kind = readout[entry.get("readout", "spatial_feature")]
    return (
        f"Encoder {name}: {kind}, trained by AdamW; an inner fold of the training samples, repetitions kept together, "
        "stopped the training."
    )


def _scaling(quality: dict[str, Any], within: str) -> str:
    """Whose statistics scaled the responses, as the cleaning steps counted them."""
    sources = {source for q in quality.values() for source in q["statistics_from"]}
    if "all rows" in sources:
        return f"all samples of the {within}, those tested later included (in cross-validation each one is)"
    alone = f" (of all samples in a {within} without any)" if "own rows" in sources else ""
    return f"training samples{alone}"


def _words(value: Any) -> str:
    """A value of the study as it is read: lists without brackets."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def as_yaml(config: dict[str, Any]) -> str:
    """The resolved configuration as YAML."""
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=110)
