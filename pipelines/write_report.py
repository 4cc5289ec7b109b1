"""write_report: one honest HTML page per study, which opens offline from a file."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pandas as pd

from brainenc.core import storage
from brainenc.core.provenance import commit, versions
from brainenc.core.types import DataError
from pipelines import report_charts, report_text
from pipelines.study import Study, resolve_study

PICTURE_WIDTH = 1200


def write_report(parameters: dict[str, Any], output: Path) -> None:
    """Collect what the study's folder holds, missing parts included, into one self-contained page.

    Parameters
    ----------
    parameters : dict
        The whole study configuration.
    output : Path
        HTML file in the study's folder.
    """
    import jinja2

    study = resolve_study(parameters)
    facts = collect(study, output.parent)
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    template = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template.filters["number"] = report_text.number
    template.filters["percent"] = report_text.percent
    storage.write_text(output, template.get_template("report.html.j2").render(**facts))


def collect(study: Study, folder: Path) -> dict[str, Any]:
    """Everything the page shows, read from the files of the steps; a missing file is listed, not guessed."""
    missing: list[str] = []
    models = [model.label for model in study.models]
    regions = _tables(study, folder, "regions.tsv", missing)
    comparisons = _tables(study, folder, "comparisons.tsv", missing)
    quality = _per_subject(study, folder, "quality.json", missing, storage.read_json)
    cards = {
        subject: {
            model.label: _maybe(folder / f"sub-{subject}" / model.name / "encoder.json", missing, storage.read_json)
            for model in study.models
        }
        for subject in study.subjects
    }
    recovery = pd.DataFrame()
    if study.config["dataset"]["class"] == "planted":
        recovery = _tables(study, folder, "recovery.tsv", missing)
    diagnostics = report_text.diagnostics(cards)
    partition = _partition(study, folder, missing)
    _per_subject(study, folder, "derivatives/dataset_description.json", missing, storage.read_json)
    stimuli = _stimuli(folder, missing)
    figures = {subject: _figures(folder / f"sub-{subject}" / "figures", missing) for subject in study.subjects}
    return {
        "study": study,
        "config": study.config,
        "models": models,
        "pocket": report_text.pocket_networks(study.config),
        "verdict": report_text.verdict(study, regions, diagnostics, recovery, quality, missing),
        "quality": quality,
        "ceilings": _ceilings(study, folder),
        "stimuli": stimuli,
        "regions": regions,
        "group": report_text.group_table(regions),
        "comparisons": report_text.group_comparisons(comparisons),
        "diagnostics": diagnostics,
        "trainings": report_text.trainings(cards),
        "training_chart": report_charts.training_chart(_courses(study, folder, missing)),
        "alpha_chart": report_charts.alpha_chart(report_text.alpha_histograms(cards)),
        "region_chart": report_charts.region_chart(regions, models) if len(regions) else "",
        "attention": _attention(study, folder, missing),
        "partition": partition,
        "partition_charts": {
            label: report_charts.partition_chart(rows, list(dict.fromkeys(rows["band"])))
            for label, rows in partition.groupby("model", sort=False)
        },
        "figures": figures,
        "recovery": recovery,
        "resources": _resources(folder),
        "methods": report_text.methods(study, quality, cards),
        "versions": versions(),
        "commit": commit(),
        "yaml": report_text.as_yaml(study.config),
        "missing": missing,
        "logs": _failed_logs(folder / "logs") if missing else {},
    }


def _courses(study: Study, folder: Path, missing: list[str]) -> dict[str, pd.DataFrame]:
    """Course of the training of each encoder that is trained by gradient, of the first subject."""
    place = folder / f"sub-{study.subjects[0]}"
    trained = [model for model in study.models if model.encoder in study.trained]
    found = {m.label: _maybe(place / m.name / "training.csv", missing, _read_course) for m in trained}
    return {label: course for label, course in found.items() if course is not None}


def _read_course(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): run the study again.") from error


def _maybe(path: Path, missing: list[str], read: Any) -> Any:
    try:
        return read(path)
    except DataError:
        missing.append(str(path))
        return None


def _per_subject(study: Study, folder: Path, name: str, missing: list[str], read: Any) -> dict[str, Any]:
    found = {subject: _maybe(folder / f"sub-{subject}" / name, missing, read) for subject in study.subjects}
    return {subject: content for subject, content in found.items() if content is not None}


def _tables(study: Study, folder: Path, name: str, missing: list[str]) -> pd.DataFrame:
    """The table of every subject, with a column ``subject``."""
    found = _per_subject(study, folder, name, missing, storage.read_table)
    tables = [table.assign(subject=subject) for subject, table in found.items() if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _ceilings(study: Study, folder: Path) -> list[dict[str, Any]]:
    """Per subject: where the ceiling comes from and how much of cortex it lets be predicted."""
    rows = []
    for subject in study.subjects:
        path = folder / f"sub-{subject}" / "ceiling.h5"
        if path.exists():
            best = pd.Series(storage.load_maps(path)["ceiling_r2"].values).dropna()
            used = storage.read_provenance(path)["parameters"]
            above = (best > study.config["ceiling"]["floor"]).mean() if len(best) else float("nan")
            rows.append({"subject": subject, **used, "mean": best.mean(), "above": above})
    return rows


def _stimuli(folder: Path, missing: list[str]) -> dict[str, Any]:
    stimuli = _maybe(folder / "stimuli.tsv", missing, storage.load_stimuli)
    if stimuli is None:
        return {}
    table = stimuli.table
    examples = []
    if "path" in table:
        texts = table["text"] if "text" in table else pd.Series("", index=table.index)
        step = max(1, len(table) // 12)
        for path, text in list(zip(table["path"], texts, strict=True))[::step][:12]:
            picture = _picture(Path(path), 128) if isinstance(path, str) else None
            if picture:
                examples.append({"picture": picture, "text": text if isinstance(text, str) else ""})
    duplicates = int(table["content"].duplicated().sum()) if "content" in table else 0
    splits = table["split"].value_counts().to_dict() if "split" in table else {}
    return {
        "n": len(table),
        "columns": list(table.columns),
        "duplicates": duplicates,
        "splits": splits,
        "examples": examples,
    }


def _figures(folder: Path, missing: list[str]) -> list[dict[str, str]]:
    listed = _maybe(folder / "figures.json", missing, storage.read_json) or []
    for entry in listed:
        raster = next((file for file in entry["files"] if file.endswith(".png")), None)
        entry["picture"] = _picture(folder / raster, PICTURE_WIDTH) if raster else None
    return [entry for entry in listed if entry["picture"]]


def _attention(study: Study, folder: Path, missing: list[str]) -> list[dict[str, Any]]:
    """Where the queries of each attention model look, of the first subject."""
    subject, found = study.subjects[0], []
    for model in study.looking_models:
        path = folder / f"sub-{subject}" / model.name / "attention.png"
        picture = _picture(path, PICTURE_WIDTH)
        if picture is None:
            missing.append(str(path))
        else:
            found.append({"model": model.label, "picture": picture, "note": study.pocket_notes.get(model.label, "")})
    return found


def _picture(path: Path, width: int) -> str | None:
    """A picture as a data URI, reduced to ``width`` pixels and compressed, so that the page stays small."""
    from PIL import Image

    if not path.is_file():
        return None
    with Image.open(path) as image:
        picture = image.convert("RGB")
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=82, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def _partition(study: Study, folder: Path, missing: list[str]) -> pd.DataFrame:
    """Unique and product shares by region, from the maps of each joint model."""
    rows = []
    for subject in study.subjects:
        masks_file = folder / f"sub-{subject}" / "regions.h5"
        for model in study.joint_models:
            path = folder / f"sub-{subject}" / model.name / "partition.h5"
            maps = _maybe(path, missing, storage.load_maps)
            if maps is None or not masks_file.exists():
                continue
            for region, mask in storage.load_masks(masks_file).items():
                for band in model.features:
                    unique = pd.Series(maps[f"unique_{band}"].values[mask]).mean()
                    product = pd.Series(maps[f"product_{band}"].values[mask]).mean()
                    row = {"subject": subject, "model": model.label, "region": region, "band": band}
                    rows.append({**row, "unique": unique, "product": product})
    return pd.DataFrame(rows, columns=["subject", "model", "region", "band", "unique", "product"])


def _resources(folder: Path) -> dict[str, Any]:
    """Time and peak memory by step, as planned and as measured; empty before the first job has ended.

    Time is measured by Snakemake; the peak is what the process itself saw (the last line of its log), for Snakemake
    only looks now and then.
    """
    rows = []
    for path in sorted((folder / "benchmarks").rglob("*.tsv")):
        table = pd.read_csv(path, sep="\t", na_values="-") if path.stat().st_size else pd.DataFrame()
        if table.empty:
            continue
        job = path.relative_to(folder / "benchmarks").with_suffix("")
        seen = table.iloc[0]
        peak = _peak(folder / "logs" / f"{job}.log", float(seen.get("max_rss", float("nan"))))
        rows.append({"job": str(job), "step": job.parts[0], "seconds": float(seen["s"]), "memory": peak})
    if not rows:
        return {}
    measured = pd.DataFrame(rows).set_index("job")
    try:
        plan = storage.read_json(folder / "plan.json")
    except DataError:
        plan = {"jobs": []}
    jobs = pd.DataFrame(plan["jobs"], columns=["name", "seconds", "ram"]).set_index("name").astype(float)
    measured = measured.join(jobs.rename(columns={"seconds": "planned_seconds", "ram": "planned"}))
    measured["planned"] /= 2**20
    grouped = measured.groupby("step").agg(
        jobs=("seconds", "size"),
        # A step of which one job could not be planned is not planned: its measured peak may be that job's.
        planned_seconds=("planned_seconds", lambda seconds: seconds.sum(skipna=False)),
        seconds=("seconds", "sum"),
        planned=("planned", lambda peaks: peaks.max(skipna=False)),
        memory=("memory", "max"),
    )
    grouped["ratio"] = grouped["planned"] / grouped["memory"]
    steps = grouped.sort_values("seconds", ascending=False).reset_index().to_dict("records")
    return {"steps": steps, "plan": plan}


def _peak(log: Path, otherwise: float) -> float:
    """Peak memory in MiB that a step's log ends with."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    told = [line.split()[2] for line in lines[-3:] if line.startswith("peak memory ") and line.endswith(" MiB")]
    return float(told[-1]) if told else otherwise


def _failed_logs(folder: Path) -> dict[str, str]:
    """Last lines of logs that speak of an error."""
    found = {}
    for path in sorted(folder.rglob("*.log")):
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if lines and (lines[-1].startswith("brainenc ") or "Error" in lines[-1]):
            found[str(path.relative_to(folder))] = "\n".join(lines[-3:])
    return found
