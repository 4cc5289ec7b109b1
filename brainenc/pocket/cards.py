"""Cards of pocket networks: what one is, what it was trained on, how, for how long, and how well it does.

``card.json`` is for programs, ``CARD.md`` says the same for people. Scores come from held-out scenes and from the files
that are shipped; a floor is what the network must reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainenc.core.provenance import commit, file_hash, versions
from brainenc.core.storage import write_json, write_text
from brainenc.nn.recipe import TrainingLog, as_csv
from brainenc.pocket import NETWORKS, check_name

LICENCE = "BSD-3-Clause"


@dataclass(frozen=True)
class Made:
    """A trained network as its page hands it over.

    Parameters
    ----------
    folder : path
        With the files to be shipped.
    data, recipe : mapping
        Plain words and numbers.
    seed : int
    log : TrainingLog, optional
        None where nothing was trained, as for a converted network.
    scores : mapping of str -> float
        On held-out scenes.
    floors : mapping of str -> float
        Scores that must be reached, by the same names.
    """

    folder: Path
    data: Mapping[str, Any]
    recipe: Mapping[str, Any]
    seed: int
    log: TrainingLog | None
    scores: Mapping[str, float]
    floors: Mapping[str, float] = field(default_factory=dict)

    @property
    def below(self) -> list[str]:
        """Names of the floors that are not reached."""
        return [name for name, floor in self.floors.items() if not self.scores.get(name, float("-inf")) >= floor]


def write_card(name: str, made: Made, device: str) -> dict[str, Any]:
    """Write ``card.json``, ``CARD.md`` and ``log.csv`` into the folder; return the card.

    Parameters
    ----------
    name : str
        A key of `NETWORKS`.
    made : Made
    device : str
        In words, such as "1 CPU thread".

    Raises
    ------
    DataError
        Unknown name.
    """
    network = NETWORKS[check_name(name)]
    shipped = [path for path in sorted(made.folder.rglob("*")) if path.is_file()]
    weights = [path for path in shipped if path.suffix == ".safetensors"]
    card = {
        "name": name,
        "about": network.about,
        "library": network.library,
        "licence": LICENCE,
        "data": {"world": "procedural scenes of brainenc.world", **made.data},
        "recipe": dict(made.recipe),
        "seed": made.seed,
        "steps": None if made.log is None else made.log.steps,
        "minutes": None if made.log is None else round(made.log.seconds / 60, 1),
        "device": device,
        "scores": dict(made.scores),
        "floors": dict(made.floors),
        "below_floor": made.below,
        "bytes": sum(path.stat().st_size for path in weights),
        "sha256": {str(path.relative_to(made.folder)): file_hash(path) for path in weights},
        "commit": commit(),
        "versions": dict(versions()),
    }
    write_json(made.folder / "card.json", card)
    write_text(made.folder / "CARD.md", as_markdown(card))
    if made.log is not None:
        write_text(made.folder / "log.csv", as_csv(made.log.rows))
    return card


def as_markdown(card: Mapping[str, Any]) -> str:
    """The card for people."""
    took = "converted, not trained" if card["steps"] is None else f"{card['steps']} steps in {card['minutes']} minutes"
    data = ", ".join(f"{name} {value}" for name, value in card["data"].items())
    lines = [
        f"# {card['name']}",
        "",
        f"{card['about'].capitalize()}. Loaded by {card['library']}. Licence: {card['licence']}.",
        "",
        f"* Data: {data}.",
        f"* Training: {took} on {card['device']}, seed {card['seed']}, commit {card['commit']}.",
        f"* Weights: {card['bytes'] / 1e6:.2f} MB.",
        f"* Made anew by `brainenc train-pocket {card['name']}`.",
        "",
        "| score on held-out scenes | value | floor |",
        "|---|---|---|",
    ]
    for name, value in card["scores"].items():
        floor = card["floors"].get(name)
        lines.append(f"| {name.replace('_', ' ')} | {value:.3f} | {'' if floor is None else f'{floor:.3f}'} |")
    lines += ["", "It knows the drawn scenes of this world and nothing else: no photograph, no other language.", ""]
    return "\n".join(lines)
