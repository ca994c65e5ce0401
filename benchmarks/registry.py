"""The part `registry`: how often the gate is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.measurements import Measure, Row, compared
from benchmarks.photographs import CHECKOUT, Photographs
from benchmarks.scratch import Scratch
from cracks.evaluation.paired_comparison import compare
from cracks.registry.gate import judge
from cracks.workspace.params import MarginsParams
from cracks.workspace.params_file import load_params

#: Simulated pairs of models, and the draw of the first one.
SIMULATIONS, SEED = 500, 0

#: Of the bounds, as in params.yaml.
RESAMPLES = 1000

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Simulated:
    """Two models of equal worth and the patches that both are tried on.

    Each group is hard or easy for both models alike (its share of errors is drawn from a beta
    distribution), and a little more or less so for each of them (a gamma factor), so that errors
    of one group come together, and those of the two models too.
    """

    crack_groups: int = 400
    clean_groups: int = 800
    crack_patches: float = 3.0  # in a group, on average, as a geometric distribution spreads them
    clean_patches: float = 1.3
    errors: float = 0.02  # share of patches
    clustering: float = 5.0  # of the errors: a lower number puts more of them into fewer groups
    margin: float = 0.03  # of both metrics
    at_the_margin: bool = False  # the challenger's recall is lower by just that

    def draw(self, random: np.random.Generator) -> tuple[Bools, Bools, Bools, list[str]]:
        """Return of n patches whether they are cracked, both models' predictions, and groups."""
        sizes = np.concatenate(
            [
                random.geometric(1 / self.crack_patches, self.crack_groups),
                random.geometric(1 / self.clean_patches, self.clean_groups),
            ]
        )
        group = np.repeat(np.arange(len(sizes)), sizes)
        cracked = group < self.crack_groups
        challenger, champion = (
            cracked ^ errors for errors in _errors(random, self.errors, self.clustering, group)
        )
        if self.at_the_margin:
            # As many of all cracks must be lost as the margin says, found ones being those to lose.
            share = self.margin / (challenger & cracked).sum() * cracked.sum()
            spread = random.beta(share * self.clustering, (1 - share) * self.clustering, len(sizes))
            challenger &= ~(cracked & (random.random(len(group)) < spread[group]))
        return cracked, challenger, champion, [f"{number:06}" for number in group]


@dataclass(frozen=True)
class Inspection:
    """The same of the photographs of one inspection, all in the test split."""

    photographs: int = 60
    patches: int = 16  # in each
    cracked: float = 0.25  # share of patches
    errors: float = 0.05
    clustering: float = 2.0
    margin: float = 0.03
    known: bool = True  # whether the photograph of each patch is known; else each counts by itself

    def draw(self, random: np.random.Generator) -> tuple[Bools, Bools, Bools, list[str]]:
        """Return of n patches whether they are cracked, both models' predictions, and groups."""
        photo = np.repeat(np.arange(self.photographs), self.patches)
        cracked = random.random(len(photo)) < self.cracked
        challenger, champion = (
            cracked ^ errors for errors in _errors(random, self.errors, self.clustering, photo)
        )
        groups = photo if self.known else np.arange(len(photo))
        return cracked, challenger, champion, [f"{number:06}" for number in groups]


def _errors(
    random: np.random.Generator, errors: float, clustering: float, group: npt.NDArray[np.intp]
) -> Iterator[Bools]:
    """Yield the errors of two models, bool (n,), clustered in groups and shared."""
    groups = int(group[-1]) + 1
    hard = random.beta(errors * clustering, (1 - errors) * clustering, groups)
    for _ in range(2):
        own = np.minimum(hard * random.gamma(2, 1 / 2, groups), 1)
        yield np.asarray(random.random(len(group)) < own[group])


def measures(_: Photographs, __: Scratch) -> dict[str, Measure]:
    """Return what this part measures, by name; all of it on what is drawn."""
    return {"registry.gate": gate, "registry.gate_by_photograph": gate_by_photograph}


def gate() -> Iterator[Row]:
    """Count how often one of two equal models is called better or worse, and what that costs."""
    usual, nominal = Simulated(), 1 - load_params(CHECKOUT / "params.yaml").register_.confidence
    # The test split of 20,000 photographs of the reference data set, with a good network.
    saturated = Simulated(
        crack_groups=88, clean_groups=1400, crack_patches=17, errors=0.001, clustering=1
    )
    rates, rare = (false_verdicts(one, SIMULATIONS, SEED) for one in (usual, saturated))
    edge = false_verdicts(Simulated(at_the_margin=True), SIMULATIONS, SEED)
    said = (
        f"{SIMULATIONS} drawn pairs of equal models with {usual.errors:.0%} errors, clustered and "
        f"shared, on {usual.crack_groups} groups with cracks (about {usual.crack_patches:g} "
        f"patches each) and {usual.clean_groups} without, margins {usual.margin:g}; reference: "
        "the nominal rate"
    )
    passed = edge["better"] + edge["not worse"]
    for verdict in ("better", "worse"):
        note = (
            f"{said}; saturated as the reference data set (88 and 1,400 groups, 0.1 % errors): "
            f"{rare[verdict]:.2g}, because there is next to nothing to tell apart; challengers "
            f"that lose just the margin passed in {passed:.2g}"
        )
        name = f"registry.gate_false_{verdict}"
        yield compared(name, [rates[verdict]], [nominal], "rate", note)


def gate_by_photograph() -> Iterator[Row]:
    """Count the same on one inspection, its photographs known, and unknown."""
    known, unknown = (
        false_verdicts(Inspection(known=known), SIMULATIONS, SEED) for known in (True, False)
    )
    one = Inspection()
    for verdict in ("better", "worse"):
        note = (
            f"{SIMULATIONS} drawn pairs of equal models with {one.errors:.0%} errors, clustered "
            f"and shared, on {one.photographs} photographs of {one.patches} patches each, "
            f"{one.cracked:.0%} of them cracked; reference: the same where no photograph is known"
        )
        name = f"registry.gate_false_{verdict}_by_photograph"
        yield compared(name, [known[verdict]], [unknown[verdict]], "rate", note)


def false_verdicts(pairs: Simulated | Inspection, simulations: int, seed: int) -> dict[str, float]:
    """Return how often each verdict is reached on simulated pairs."""
    section = load_params(CHECKOUT / "params.yaml").register_
    margins = MarginsParams(accuracy=pairs.margin, recall=pairs.margin)
    section = section.model_copy(update={"margins": margins})
    random = np.random.default_rng(seed)
    counted: Counter[str] = Counter(
        judge(
            compare(*pairs.draw(random), confidence=section.confidence, resamples=RESAMPLES),
            section,
            "photographs",
        )[0]
        for _ in range(simulations)
    )
    verdicts = ("better", "not worse", "undecided", "worse")
    return {verdict: counted[verdict] / simulations for verdict in verdicts}
