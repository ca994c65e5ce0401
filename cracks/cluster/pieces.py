"""A piece: the work of one task on a worker, and where its result lies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from cracks.errors import ClusterError
from cracks.storage.object_store import ObjectStore

#: Pieces that are named in an error message.
SHOWN = 5


class Work(Protocol):
    """What is to be computed; it is sent to a worker, so it holds names and no pixels."""

    def run(self, store: ObjectStore, threads: int) -> bytes:
        """Return the result, which is the same wherever it is computed.

        Args:
            store: where everything is read.
            threads: that this process may compute with at a time; this is one of them.
        """


@dataclass(frozen=True)
class Piece:
    """Some work."""

    number: int  # from 0 on, in the order in which results are wanted
    name: str  # for people
    key: str  # of the result in the store
    images: int
    work: Work


@dataclass(frozen=True)
class Outcome:
    """The outcome of a piece: its result lies in the store, or it failed again and again."""

    piece: Piece
    failure: str | None = None  # the reason


def by_number(found: Iterable[Outcome]) -> Iterator[Outcome]:
    """Yield outcomes by the numbers of their pieces."""
    early: dict[int, Outcome] = {}
    number = 0
    for outcome in found:
        early[outcome.piece.number] = outcome
        while number in early:
            yield early.pop(number)
            number += 1


def require_no_failure(failures: Sequence[Outcome], total: int) -> None:
    """Say which pieces have failed, if any.

    Raises:
        ClusterError: some have; the message names them.
    """
    if not failures:
        return
    first, others = failures[0], ", ".join(one.piece.name for one in failures[1:SHOWN])
    more = f"; also {others}" if others else ""
    more += f" and {len(failures) - SHOWN} more" if len(failures) > SHOWN else ""
    raise ClusterError(
        f"{len(failures):,} of {total:,} pieces failed again and again: {first.piece.name} "
        f"({(first.failure or '').rstrip('.')}){more}. The others are done and kept; fix the "
        "cause, then run it again: only these are computed."
    )
