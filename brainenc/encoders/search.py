"""One pass over the responses per group of candidates: curves of scores become a choice for every target.

Whether the grid of penalties must be extended is known only when all targets have been seen. So the extensions are
scored along (with the exact solver they cost next to nothing), and the best choice is kept for each outcome: no edge
extended, the lower, the upper, both. The responses are not visited again, but for the coefficients of targets that an
extension moves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from tqdm import tqdm

from brainenc.encoders import alphas as grids
from brainenc.encoders.alphas import Grid
from brainenc.encoders.choice import FIELDS, Choice, choose
from brainenc.encoders.compute import Compute, full_precision, give_back_memory
from brainenc.encoders.refit import Coefficients, Shared
from brainenc.encoders.solvers import Problem
from brainenc.encoders.targets import Targets

Candidates = Callable[[int, Choice | None, np.ndarray], np.ndarray]


class Tally:
    """The best choice so far of every target, under each outcome of the grid's extension.

    Attributes
    ----------
    best : outcome -> `Choice` (n_targets,).
    without : outcome -> (n_bands, n_targets) best score of candidates without a band; NaN if there was none.
    gammas : candidates seen, which `Choice.gamma` counts.
    """

    def __init__(self, grid: Grid, n_targets: int, n_bands: int) -> None:
        self.grid, self.gammas = grid, np.empty((0, n_bands))
        self.best = {
            edges: Choice(*(np.full(n_targets, -1 if name == "gamma" else np.nan) for name in FIELDS))
            for edges in grid.outcomes()
        }
        for choice in self.best.values():
            choice.score[:] = -np.inf
        self.without = {edges: np.full((n_bands, n_targets), np.nan) for edges in self.best}

    def candidates(self, gammas: np.ndarray) -> int:
        """Take note of further candidates and return the number of the first."""
        first = len(self.gammas)
        self.gammas = np.concatenate([self.gammas, gammas])
        return first

    def add(self, columns: slice, curves: list[np.ndarray], first: int) -> None:
        """Compare the curves of candidates ``first``, ``first + 1`` ... with the best so far."""
        alphas = self.grid.widest
        for index, curve in enumerate(curves, start=first):
            absent = self.gammas[index] == 0
            for edges, best in self.best.items():
                span = self.grid.span(edges)
                new = choose(np.concatenate([curve[span], curve[-1:]]), alphas[span], index)
                old = Choice(*(getattr(best, name)[columns] for name in FIELDS))
                merged = old.merged(new) if index else new
                for name in FIELDS:
                    getattr(best, name)[columns] = getattr(merged, name)
                if absent.any():
                    part = self.without[edges][:, columns]
                    part[absent] = np.fmax(part[absent], new.score)


@dataclass(frozen=True)
class Found:
    """What a search ends with.

    Attributes
    ----------
    choice : `Choice` (n_targets,).
    gammas : (n_gammas, n_bands) candidates, which ``choice.gamma`` counts.
    without : (n_bands, n_targets) best score of the candidates that give a band no weight; NaN if there was none.
    alphas : (n_alphas,) the grid, extended where that was called for.
    shares : shares of targets at its edges, see `alphas.edge_shares`.
    message : of an `AlphaEdgeWarning`, "" if all is well.
    """

    choice: Choice
    gammas: np.ndarray
    without: np.ndarray
    alphas: np.ndarray
    shares: dict[str, float]
    message: str


def search(problem: Problem, candidates: Candidates, targets: Targets, coef: Any) -> Found:
    """Choose alpha and band weights of every target, and fill in its coefficients.

    Parameters
    ----------
    problem : features, folds, penalties and how to compute.
    candidates : from the choices so far (None at first) and their candidates to further candidates of band weights,
        (n_gammas, n_bands); none when the search is over.
    targets : responses.
    coef : (n_features, n_targets), filled in place by blocks of columns.
    """
    n_bands = len(problem.design.bands)
    tally = Tally(problem.grid, targets.n_targets, n_bands)
    gammas = candidates(n_bands, None, tally.gammas)
    single: _Refit | None = None  # refits beside the search, where there is one candidate to begin with
    width = problem.width(targets)
    with full_precision():
        while len(gammas):
            for group in problem.batches(gammas):
                first = tally.candidates(group)
                solvers = [problem.solver_for(group, place) for place in problem.places]
                shared = [solver.features() for solver in solvers]
                if first == 0 and len(gammas) == 1:
                    single = _Refit(problem, gammas, coef, shared)
                    single.prepare()
                give_back_memory()

                def work(
                    place: int, columns: slice, y: Any, solvers: Any = solvers, first: int = first,
                    beside: _Refit | None = single if first == 0 else None,
                ) -> None:  # fmt: skip
                    tally.add(columns, solvers[place].curves(y), first)
                    if beside is not None:
                        beside.solve(place, columns, y, tally.best[()], targets, solvers[place].products())

                visit(targets, width, problem.places, work, what="penalties")
            outcome, shares = _outcome(problem, tally)
            gammas = candidates(n_bands, tally.best[outcome], tally.gammas)
        choice = tally.best[outcome]
        del solvers, work  # the tables of the search are large
        if single is None or len(tally.gammas) > 1:
            left = np.isfinite(choice.alpha)
            single = _Refit(problem, tally.gammas, coef, shared)
        else:
            left = np.isfinite(choice.alpha) & (choice.alpha != tally.best[()].alpha)
        if left.any():

            def refit(place: int, columns: slice, y: Any) -> None:
                single.solve(place, columns, y, choice, targets, None)

            visit(targets, width, problem.places, refit, wanted=left, what="coefficients")
    grid = problem.grid.widest[problem.grid.span(outcome)]
    limit = grids.is_limit(grid, problem.design.trace, problem.cv_score)
    message = grids.edge_message(shares, grid, problem.design.trace, problem.extend, limit)
    return Found(choice, tally.gammas, tally.without[outcome], grid, shares, message)


def _outcome(problem: Problem, tally: Tally) -> tuple[tuple[str, ...], dict[str, float]]:
    """Return which edges of the grid to extend, and the shares of targets at the edges of the grid that results."""

    def shares(edges: tuple[str, ...]) -> dict[str, float]:
        best = tally.best[edges]
        stake = grids.at_stake(best.score, best.baseline, problem.design.n_samples, problem.cv_score)
        return grids.edge_shares(best.alpha, problem.grid.widest[problem.grid.span(edges)], stake, best.margin)

    found = shares(())
    limit = grids.is_limit(problem.grid.base, problem.design.trace, problem.cv_score)
    edges = tuple(grids.edges_to_extend(found, limit))
    if not edges or edges not in tally.best:
        return (), found
    return edges, shares(edges)


class _Refit:
    """Coefficients of blocks of targets; the factorisation of a candidate is made when its first target comes."""

    def __init__(self, problem: Problem, gammas: np.ndarray, coef: Any, shared: Sequence[Shared | None]) -> None:
        self.problem, self.gammas, self.coef, self._shared = problem, gammas, coef, list(shared)
        self._solvers: dict[tuple[int, int], Coefficients] = {}
        self._lock = Lock()

    def prepare(self) -> None:
        """Make the factorisation of the only candidate on every place."""
        for place in range(len(self.problem.places)):
            self._solver(place, 0)

    def solve(self, place: int, columns: slice, y: Any, choice: Choice, targets: Targets, products: Any) -> None:
        alpha, gamma, scale = choice.alpha[columns], choice.gamma[columns], targets.scale[columns]
        winners = np.unique(gamma[np.isfinite(alpha)])
        block = None
        for index in winners:
            solver = self._solver(place, int(index))
            if solver.primal and products is None:
                products = self._features(place).X.T @ y  # of all bands: winners share them
            if len(winners) == 1 and solver.active.all():
                block = solver.solve(y, alpha, scale, products)
                break
            block = np.zeros((len(solver.active), len(alpha)), np.float32) if block is None else block
            chosen = np.flatnonzero((gamma == index) & np.isfinite(alpha))
            known = None if products is None else products[:, chosen]
            block[np.ix_(solver.active, chosen)] = solver.solve(y[:, chosen], alpha[chosen], scale[chosen], known)
        with self._lock:
            self.coef[:, columns] = np.zeros((self.coef.shape[0], len(alpha)), np.float32) if block is None else block

    def _solver(self, place: int, index: int) -> Coefficients:
        if (place, index) not in self._solvers:
            design, gamma, compute = self.problem.design, self.gammas[index], self.problem.places[place]
            self._solvers[place, index] = Coefficients(design, gamma, compute, self._features(place))
            give_back_memory()
        return self._solvers[place, index]

    def _features(self, place: int) -> Shared:
        """Return what all candidates share on a place, made once."""
        shared = self._shared[place]
        if shared is None:
            design = self.problem.design
            primal = any(design.is_primal(gamma) for gamma in self.gammas)
            shared = self._shared[place] = Shared.make(design, self.problem.places[place], primal)
        return shared


def visit(
    targets: Targets, width: int, computes: list[Compute], work: Callable[[int, slice, Any], None],
    wanted: np.ndarray | None = None, what: str = "fit",
) -> None:  # fmt: skip
    """Call ``work(place, columns, y)`` for every block of responses, the places side by side.

    Progress is shown once it takes longer than five seconds.
    """
    with tqdm(total=targets.n_targets, desc=what, unit="target", delay=5, leave=False) as bar:

        def share(place: int) -> None:
            turn = (place, len(computes))
            for columns, y in targets.blocks(width, computes[place], wanted, turn):
                work(place, columns, y)
                bar.update(columns.stop - columns.start)

        if len(computes) == 1:
            share(0)
            return
        with ThreadPoolExecutor(len(computes)) as pool:
            list(pool.map(share, range(len(computes))))
