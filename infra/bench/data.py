"""The part `data`: what the stages and the storage of the data cost, and how that grows."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from statistics import median

from cracks.paths import STAGES
from infra.bench.measurements import Measure, Row, compared, in_turn, measured
from infra.bench.photographs import Photographs
from infra.bench.scratch import MeasurementFailed, Run, Scratch, own_peak_mb
from infra.bench.storage import Trip, s3_endpoint
from infra.bench.workspaces import Workspace

#: How many times as many photographs growth is measured with.
GROWTH = 10

#: The stages that see the photographs before anything is learned from them, and the others.
DATA_STAGES, LATER_STAGES = STAGES[:3], STAGES[3:]

#: Repetitions where they are affordable; loose files take minutes on their way to S3 and back.
REPETITIONS, FEW_FILES = 3, 5000

#: Photographs that the later stages get at most.
LEARNED_FROM = 20_000

#: Seconds that the three stages may take for 20,000 photographs.
LIMIT = 60

#: Growth of memory from which on the note says what it is that grows.
NOTED_GROWTH = 1.3

#: A backbone with weights that need no download, and features that are computed in a minute.
BACKBONE = (
    "featurize.architecture=mobilenetv2",
    "featurize.weights=none",
    "featurize.image_size=160",
)


class DataBench:
    """Measures the stages and the storage of the data on some photographs."""

    def __init__(self, photographs: Photographs, scratch: Scratch, tell: Measure) -> None:
        raise NotImplementedError
