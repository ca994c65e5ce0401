"""Answer for any number of images without a server, and go on where it stopped."""

from __future__ import annotations

from cracks.batch_scoring.batch import answer_all, refuse_if_nothing_was_readable
from cracks.batch_scoring.scoring import ScoredChunk, score_files
from cracks.batch_scoring.store import AnswerStore

__all__ = [
    "AnswerStore",
    "ScoredChunk",
    "answer_all",
    "refuse_if_nothing_was_readable",
    "score_files",
]
