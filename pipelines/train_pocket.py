"""``brainenc train-pocket NAME``: make a pocket network anew, with card and log.

It leaves ``OUT/NAME`` (the files to be shipped, ``card.json``, ``CARD.md``, ``log.csv``) and ``OUT/training-NAME``
(checkpoints). A training that was stopped goes on with ``--resume`` and ends as if it had not been.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from brainenc.core.types import DataError
from brainenc.pocket import NETWORKS, check_name
from brainenc.pocket.cards import write_card


def train_pocket(name: str, steps: int | None, out: Path, cache: Path, resume: bool, device: str = "cpu") -> None:
    """Train a pocket network.

    Parameters
    ----------
    name : str
        A key of `brainenc.pocket.NETWORKS`.
    steps : int, optional
        Instead of the recipe's.
    out : folder of the results.
    cache : folder of rendered scenes, shared by all networks.
    resume : go on from the last checkpoint.
    device : "cpu", "cuda" or "auto".

    Raises
    ------
    DataError
        Unknown name, steps below 1, an earlier training that is not to be resumed.
    """
    check_name(name)
    if steps is not None and steps < 1:
        raise DataError(f"{steps} steps came, at least 1 was wanted: ask for more.")
    import torch

    from brainenc.nn.device import choose_device

    chosen = choose_device(device)
    torch.set_num_threads(1)  # sums in one order: a resumed training ends bit-equal
    page = importlib.import_module(f"brainenc.pocket.{NETWORKS[name].page}")
    made = page.make(name, out, cache, steps=steps, resume=resume, device=str(chosen))
    where = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else "1 CPU thread"
    card = write_card(name, made, where)
    for score, value in card["scores"].items():
        floor = card["floors"].get(score)
        print(f"{score:20} {value:.3f}" + ("" if floor is None else f"   floor {floor:.3f}"))
    if made.below:
        print(f"below the floor: {', '.join(made.below)}: train for more steps before shipping.", file=sys.stderr)
    print(f"written: {made.folder}")
