"""What the parts have in common: photographs, a scratch folder, and weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.photographs import Photographs, network_params, trained_weights
from benchmarks.scratch import Scratch
from benchmarks.workspaces import Workspace


@dataclass(frozen=True)
class Bench:
    """Measures with some photographs in a scratch folder."""

    photographs: Photographs
    scratch: Scratch

    @cached_property
    def weights(self) -> Path:
        """The weights of the notebooks' backbone: trained ones, or random ones for want of them."""
        if trained := trained_weights():
            return trained
        workspace = Workspace(self.scratch, "weights", self.photographs.path)
        return Path(workspace.timed("random-weights")["file"])

    def backbone_params(self) -> list[str]:
        """Return the parameters of the notebooks' network with these weights."""
        return network_params(self.weights)

    def note(self, said: str) -> str:
        """Return the note of a row: with which photographs and weights, and what was measured."""
        weights = "" if trained_weights() else ", without trained weights"
        return f"{self.photographs.name}, n = {self.photographs.count:,}{weights}; {said}"
