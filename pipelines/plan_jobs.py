"""What each job of a study needs, from shapes alone: memory beyond a started process, disk, and arithmetic.

Steps visit targets in chunks (`brainenc.stats.chunks`), so memory follows the chunk, and only maps (one number per
target) grow with their number. The multiples of a chunk were read from the steps and set against their measured peaks
by ``benchmarks/plan/run.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from brainenc.core.stored import ROWS
from brainenc.stats.bootstrap import BLOCK_BYTES
from brainenc.stats.chunks import CHUNK_BYTES
from brainenc.stats.identification import KEPT_BYTES
from pipelines.plan_features import TRIED, FeatureShape
from pipelines.plan_fit import Demand, fit_demand, reading
from pipelines.plan_shapes import Shapes, SubjectShape
from pipelines.study import Model, Study

STORED_COLUMNS = 1024
"""Columns of a stored chunk of responses: a chunk that is read is no narrower."""

CHUNKS = {"clean_responses": 2.2, "estimate_ceiling": 5.2, "score_encoder": 4.0, "partition_variance": 3.0}
"""Chunks that a step holds at a time, as float64: what it reads, and what it makes of it."""

N_MAPS = {"clean_responses": 35, "estimate_ceiling": 35, "score_encoder": 90, "partition_variance": 12}
"""Numbers that a step keeps per target, copies included."""

LIBRARIES = 9 * 2**20
"""What h5py and BLAS take once they work."""

DRAWN = ("planted", "planted_movies")  # data sets that render their pictures
PICTURE_BYTES = 2 * 4 * 8 * 32 * 32
"""A rendered picture: eight channels of contrast energy, kept twice, or once beside the picture itself."""

CORTEX_BYTES = 104 * 2**20
"""Parcellation, tuning and smoothing of a planted cortex."""

FIGURE_BYTES, DRAWN_BYTES, MOST_DRAWN = 240 * 2**20, 8 * 2**20, 16
"""Mesh, lookup and canvas of painted maps, and what each further figure leaves until it is collected."""

TABLE_BYTES = 600
"""A stimulus or a sample in a table: text columns are Python objects."""


@dataclass(frozen=True)
class Job:
    """One job of the graph.

    Attributes
    ----------
    name : as its file of benchmarks is called, without suffix.
    step : rule.
    subject : "" for jobs of the whole study.
    demand : what it needs; None where that is not known, see ``unknown``.
    needs : names of the jobs before it.
    threads : cores it takes.
    unknown : why nothing is predicted.
    """

    name: str
    step: str
    subject: str
    demand: Demand | None
    needs: tuple[str, ...] = ()
    threads: int = 1
    unknown: str = ""
    models: tuple[str, ...] = field(default=())


def study_jobs(study: Study, shapes: Shapes) -> Iterator[Job]:
    """Yield every job of a study, those it needs first."""
    config = study.config
    rows = shapes.n_stimuli * TABLE_BYTES
    threads = config["resources"]["threads"]
    planted = config["dataset"]["class"] == "planted"
    drawn = config["dataset"]["class"] in DRAWN
    seconds = None if drawn else 0.0  # rendering pictures is not predicted
    looked_at = min(2**24, max(4 * size.n_rows * size.n_targets for size in shapes.subjects.values()))
    checked = Demand("table", ram=2 * rows + 3 * looked_at, read=len(study.subjects) * 2**26)
    yield Job("check_study", "check_study", "", checked)
    picture_bytes = PICTURE_BYTES * shapes.n_stimuli if drawn else 0
    stimuli = Demand("table", ram=3 * rows + picture_bytes, written=rows // 3, seconds=seconds)
    yield Job("prepare_stimuli", "prepare_stimuli", "", stimuli)
    for name, entry in config["features"].items():
        shape = shapes.features.get(name)
        demand = None if shape is None else _extract(shape, entry, shapes.n_stimuli)
        why = shapes.unknown.get(name, "")
        if demand is None and not why:
            why = f"what extracting {name!r} takes is not known before it is tried: run `brainenc plan STUDY.yaml`"
        yield Job(f"extract_features/{name}", "extract_features", "", demand, ("prepare_stimuli",), threads, why)
    for subject in study.subjects:
        yield from _subject_jobs(study, shapes, subject, threads)
    ends = [f"{step}/sub-{s}" for s in study.subjects for step in ("paint_maps", "export_maps", "summarise_regions")]
    ends += [f"check_recovery/sub-{s}" for s in study.subjects if planted]
    pictures = (40 * 2**20 + len(study.subjects) * _n_figures(study) * 2**19) if _is_painted(config) else 12 * 2**20
    pictures += rows
    yield Job("write_report", "write_report", "", Demand("pictures", ram=pictures, seconds=3.0), tuple(ends))


def _extract(shape: FeatureShape, entry: dict[str, Any], n_stimuli: int) -> Demand | None:
    """What extracting takes; None for a network that was not tried, whose width is known from its file alone."""
    stored = 4 * n_stimuli * shape.n_stored
    if shape.ram is not None and shape.seconds is not None and shape.start_seconds is not None:
        took = shape.start_seconds + n_stimuli * shape.seconds
        held = shape.ram + n_stimuli * TABLE_BYTES + LIBRARIES
        return Demand("", ram=held, written=stored, seconds=took, bound="network")
    if entry["class"] in TRIED:
        return None
    # A table is computed whole once, as a check; an array is read by rows, from HDF5 and .npy only these.
    whole = 4 * n_stimuli * shape.n_extracted
    by_rows = entry["class"] == "array" and str(entry["path"]).lower().endswith((".h5", ".hdf5", ".npy"))
    held = n_stimuli * TABLE_BYTES + 8 * shape.batch_size * shape.n_extracted
    held += 0 if by_rows else whole if entry["class"] == "array" else 6 * whole
    return Demand("table", ram=held, read=whole, written=stored)


def _subject_jobs(study: Study, shapes: Shapes, subject: str, threads: int) -> Iterator[Job]:
    config, size = study.config, shapes.subjects[subject]
    here = f"sub-{subject}"

    def job(step: str, demand: Demand, *needs: str) -> Job:
        return Job(f"{step}/{here}", step, subject, demand, tuple(f"{name}/{here}" for name in needs))

    kind = config["dataset"]["class"]
    values = 4 * size.n_rows * size.n_targets
    table = size.n_rows * TABLE_BYTES
    yield _unless_network(config, job("prepare_responses", _prepare(kind, size, table, _n_pictures(config, size))))
    split = Demand("table", ram=2 * table + shapes.n_stimuli * TABLE_BYTES, written=size.n_rows * 40)
    yield Job(
        f"split_samples/{here}", "split_samples", subject, split, ("prepare_stimuli", f"prepare_responses/{here}")
    )
    session = 0 if config["responses"]["within"] is None else size.n_session
    ram = streamed("clean_responses", size.n_rows, size.n_targets, 4.0 * session / size.n_rows) + table + 2 * LIBRARIES
    clean = Demand("table", ram=ram, read=2 * values, written=values, copied=12 * 2 * values)
    yield job("clean_responses", clean, "split_samples")
    none_repeated = -3.0 if size.n_rows == size.n_samples else 0.0
    ram = streamed("estimate_ceiling", size.n_rows, size.n_targets, none_repeated) + table + LIBRARIES
    yield job("estimate_ceiling", Demand("table", ram=ram, read=2 * values, copied=40 * 2 * values), "clean_responses")
    for model in study.models:
        yield from _model_jobs(study, shapes, subject, model, threads)
    for model in study.joint_models:
        yield _partition(study, size, subject, model)
    scores = [f"score_encoder/{here}_{model.name}" for model in study.models]
    parts = [f"partition_variance/{here}_{model.name}" for model in study.joint_models]
    yield _after("summarise_regions", subject, _regions(study, size), scores)
    n_maps = 5 * len(study.models) + 7
    painted = Demand("table", ram=16 * n_maps * size.n_targets)
    if _is_painted(config):
        drawn = FIGURE_BYTES + DRAWN_BYTES * min(_n_figures(study), MOST_DRAWN)
        painted = Demand("pictures", ram=drawn + 16 * n_maps * size.n_targets, seconds=None)
    yield _after("paint_maps", subject, painted, [*scores, *parts])
    exported = Demand("table", ram=2**21 + 24 * n_maps * size.n_targets, written=8 * n_maps * size.n_targets)
    yield _after("export_maps", subject, exported, scores)
    if kind == "planted":
        truth = _planted(size, _n_pictures(config, size))
        checked = _after("check_recovery", subject, Demand("table", ram=truth, seconds=None), [*scores, *parts])
        yield _unless_network(config, checked)


def _unless_network(config: dict[str, Any], job: Job) -> Job:
    """The job; not planned where a network, whose memory is not counted, plants the signal."""
    network = config["dataset"].get("network")
    if network is None:
        return job
    return replace(job, demand=None, unknown=f"what network {str(network)!r} takes, which plants signals, is not known")


def _prepare(kind: str, size: SubjectShape, table: int, n_pictures: int) -> Demand:
    """What reading one subject's responses takes; what models of BOLD and planted signals take is not timed."""
    values = 4 * size.n_rows * size.n_targets
    if kind == "folder":
        block = 4 * min(size.n_rows, 256) * min(size.n_targets, 2**14)
        held = 5 * block // 2 + 2**23 + (0 if size.by_block else values)
        return Demand("table", ram=held + table, read=values, written=values)
    if kind == "planted":  # the signal is drawn, then measured, and faults are put into a copy
        measured = _pictures(n_pictures) + 4 * n_pictures * size.n_targets + 2 * values
        return Demand("table", ram=max(_planted(size, n_pictures), measured) + table, written=values, seconds=None)
    return Demand("pictures", ram=5 * values // 2 + table, written=values, seconds=None)


def _n_pictures(config: dict[str, Any], size: SubjectShape) -> int:
    """Pictures that a subject saw; an upper bound where repetitions are not averaged."""
    return size.n_samples if config["responses"]["average"] else size.n_rows


def _planted(size: SubjectShape, n_pictures: int) -> int:
    """Bytes of drawing a planted signal: as it is, centred, and squared or divided, float64."""
    return _pictures(n_pictures) + 3 * 8 * n_pictures * size.n_targets


def _pictures(n_pictures: int) -> int:
    return CORTEX_BYTES + n_pictures * PICTURE_BYTES


def _n_figures(study: Study) -> int:
    """Maps that are painted of a subject: the ceiling, scores, three of the best model, bands, receptive fields."""
    n_bands = sum(len(model.features) for model in study.joint_models)
    return 4 + len(study.models) + n_bands + 2 * len(study.field_models)


def _is_painted(config: dict[str, Any]) -> bool:
    """Whether targets have a place: on a mesh or in a volume."""
    dataset = config["dataset"]
    placed = dataset["class"] != "folder" or not {"mask", "mesh"}.isdisjoint(dataset)
    return config["surface"]["mesh"] is not None and placed


def _after(step: str, subject: str, demand: Demand, needs: list[str]) -> Job:
    return Job(f"{step}/sub-{subject}", step, subject, demand, tuple(needs))


def _model_jobs(study: Study, shapes: Shapes, subject: str, model: Model, threads: int) -> Iterator[Job]:
    config, size = study.config, shapes.subjects[subject]
    here, whose = f"sub-{subject}_{model.name}", f"sub-{subject}"
    why = next((shapes.unknown[name] for name in model.features if name in shapes.unknown), "")
    before = (f"clean_responses/{whose}", *(f"extract_features/{name}" for name in model.features))
    demand = None
    if model.encoder in study.trained:
        step, why = "fit_readout", f"what training {model.label!r} takes is not predicted: its validation stops it"
    else:
        step = "fit_encoder"
    if not why:
        bands = [shapes.features[name] for name in model.features]
        demand = fit_demand(config["encoders"][model.encoder], bands, size, shapes.n_stimuli)
    yield Job(f"{step}/{here}", step, subject, demand, before, threads, why, (model.label,))
    if model in study.looking_models:
        looks = f"what reading the attention of {model.label!r} takes is not predicted"
        yield Job(f"read_attention/{here}", "read_attention", subject, None, (f"{step}/{here}",), 1, looks)
    needs = (f"{step}/{here}", f"estimate_ceiling/{whose}")
    yield Job(f"score_encoder/{here}", "score_encoder", subject, _score(config, size), needs, models=(model.label,))
    if model in study.field_models:
        reads = f"what reading the receptive fields of {model.label!r} takes is not predicted"
        needs = (f"score_encoder/{here}",)
        yield Job(f"read_receptive_fields/{here}", "read_receptive_fields", subject, None, needs, 1, reads)


def _partition(study: Study, size: SubjectShape, subject: str, model: Model) -> Job:
    here = f"sub-{subject}_{model.name}"
    reduced = tuple(f"score_encoder/sub-{subject}_{other.name}" for other in study.reduced(model))
    ram = streamed("partition_variance", size.n_tested, size.n_targets, len(model.features) + 2)
    tested = 4 * size.n_tested * size.n_targets * (len(model.features) + 2)
    demand = Demand("table", ram=ram + size.n_rows * TABLE_BYTES + LIBRARIES, read=tested, copied=20 * tested)
    needs = (f"score_encoder/{here}", *reduced)
    return Job(f"partition_variance/{here}", "partition_variance", subject, demand, needs, models=(model.label,))


def _score(config: dict[str, Any], size: SubjectShape) -> Demand:
    """Permutations take a row order and a product each: bound by memory, not by arithmetic."""
    tested = 4 * size.n_tested * size.n_targets
    n_permutations = config["statistics"]["n_permutations"]
    ram = streamed("score_encoder", size.n_tested, size.n_targets) + size.n_rows * TABLE_BYTES
    ram += _stretch(size, size.n_tested) + reading(size, size.n_tested, STORED_COLUMNS)
    return Demand("table", ram=ram, read=3 * tested, copied=(40 + 4 * n_permutations) * tested)


def _regions(study: Study, size: SubjectShape) -> Demand:
    """Bootstrap by weighted sums: a few GEMMs of (n_bootstrap, n_tested) by (n_tested, n_targets) per model.

    Then stimuli are identified from patterns over targets, which are kept where they are small enough.
    """
    n_bootstrap = study.config["statistics"]["n_bootstrap"]
    n_runs = len(study.models) + len(study.comparisons) * 2
    tested = size.n_tested * size.n_targets
    tested_bytes, n_folds = 8 * tested, size.n_folds
    width = min(size.n_targets, BLOCK_BYTES // (8 * max(size.n_tested, 1 + n_bootstrap)))
    chunk, resampled = 8 * size.n_tested * width, 8 * (1 + n_bootstrap) * width
    intervals = int((2 + 6.1 / n_folds) * chunk) + 7 * resampled
    identified = int((6 + 7.5 / n_folds) * tested_bytes) if 2 * tested_bytes <= KEPT_BYTES else 8 * CHUNK_BYTES
    ram = max(intervals, identified) + _stretch(size, size.n_tested) + LIBRARIES
    ram += size.n_targets * (8 * (size.n_regions + 1) + 200)
    ram += 8 * n_bootstrap * (size.n_regions + 1) * 4 + size.n_rows * TABLE_BYTES
    flops = n_runs * 8 * 2 * n_bootstrap * tested
    return Demand("table", ram=ram, flops64=flops, read=4 * n_runs * tested, copied=n_runs * 100 * tested)


def _stretch(size: SubjectShape, n_wanted: int) -> int:
    """Bytes of the stored rows in which wanted ones lie, for one chunk of targets."""
    width = chunk_bytes(n_wanted, size.n_targets) // (8 * n_wanted)
    return 4 * min(size.n_rows, ROWS) * width


def streamed(step: str, n_rows: int, n_targets: int, extra: float = 0.0) -> int:
    """Bytes of a step that visits targets in chunks: the chunks it holds (``extra`` ones too), and its maps."""
    return int((CHUNKS[step] + extra) * chunk_bytes(n_rows, n_targets)) + 8 * N_MAPS[step] * n_targets


def chunk_bytes(n_rows: int, n_targets: int) -> int:
    """Bytes of one float64 chunk of responses."""
    stored = min(n_targets, 2**18 // min(n_rows, 256))
    width = CHUNK_BYTES // (8 * n_rows)
    return 8 * n_rows * min(n_targets, max(stored, width - width % stored))
