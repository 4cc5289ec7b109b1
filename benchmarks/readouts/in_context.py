"""Meta-train the small in-context encoder of the tests and measure its curve; writes ``in_context.md``.

python benchmarks/readouts/in_context.py               # in a temporary folder
python benchmarks/readouts/in_context.py --folder F    # checkpoints in F: goes on where it was stopped
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from brainenc.encoders.in_context import InContext  # noqa: E402
from brainenc.encoders.in_context_curves import context_curve  # noqa: E402
from brainenc.nn.hypernetwork import HyperNetwork, respond  # noqa: E402
from brainenc.nn.voxel_tasks import SimulatedTargets  # noqa: E402
from tests.encoders import weight_population as population  # noqa: E402

NAMES = {
    "in_context": "in-context encoder",
    "ridge": "ridge, 5 folds, a penalty per target",
    "loo_ridge": "ridge, leave-one-out, a penalty per target",
    "bayes": "best possible (posterior mean)",
    "torn": "in-context, pairs torn apart",
    "torn_bayes": "best possible, pairs torn apart",
}


def seconds_a_step(n_context: int) -> float:
    """Processor time of an update with contexts of that size."""
    network = HyperNetwork(population.SHAPE)
    source = SimulatedTargets(population.embeddings(500, 2), population.draw_weights)
    start = 0.0
    for step in range(6):
        if step == 1:
            start = time.process_time()
        tasks = source.draw(population.CURRICULUM.n_targets, n_context, 40, torch.Generator().manual_seed(step))
        (respond(network(tasks.X, tasks.Y), tasks.X_query) - tasks.Y_query).square().mean().backward()
    return (time.process_time() - start) / 5


def torn(fit):
    """The broken twin: responses of other stimuli."""
    return lambda X, Y: fit(X, Y[np.random.default_rng(0).permutation(len(Y))])


def page(network: HyperNetwork, logs, curve) -> str:
    """The result in words and a table."""
    sizes = population.RANGES
    cost = sum(log.steps * seconds_a_step(sum(sizes[stage]) // 2) for stage, log in logs.items())
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE).stdout
    ranges = {stage: f"{least} to {most} pairs" for stage, (least, most) in sizes.items()}
    stages = " + ".join(f"{log.steps} ({stage}, {ranges[stage]})" for stage, log in logs.items())
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    lines = [
        "# In-context encoder on a population with a known best prediction",
        "",
        f"`python benchmarks/readouts/in_context.py`, commit {commit.strip()}, {platform.machine()}, one thread, "
        f"Python {platform.python_version()}, torch {torch.__version__}.",
        "",
        f"{n_parameters:,} parameters, trained for {stages} steps of {population.CURRICULUM.n_targets} targets, about "
        f"{cost:.0f} s of processor time (a few steps timed, times their number). Tested on 200 new targets and 300 "
        "new stimuli: mean correlation over targets and three disjoint contexts of each size; noise ceiling "
        f"{population.CEILING:.3f}.",
        "",
        "| context stimuli | " + " | ".join(map(str, curve.sizes)) + " |",
        "|---|" + "---|" * len(curve.sizes),
        *(f"| {words} | " + " | ".join(f"{r:.3f}" for r in curve.mean(name)) + " |" for name, words in NAMES.items()),
        "",
        f"Promise (`weight_population.faults`): {'; '.join(population.faults(curve)) or 'kept'}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    folder = parser.parse_args().folder
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        network, logs = population.meta_trained(folder or Path(temporary), resume=folder is not None)
    encoder = InContext.from_network(network, device="cpu")

    def fit(X, Y):
        return InContext.from_network(network, device="cpu").fit(X, Y)

    others = {"loo_ridge": population.fit_best_ridge, "bayes": population.Bayes}
    others |= {"torn": torn(fit), "torn_bayes": torn(population.Bayes)}
    curve = context_curve(encoder, *population.new_subject(), population.SIZES, 3, 0, others=others)
    (HERE / "in_context.md").write_text(page(network, logs, curve), encoding="utf-8")
    print((HERE / "in_context.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
