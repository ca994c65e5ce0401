"""The ledger: who put which version into service, when and why; each entry seals the one before.

A chain of hashes shows what was altered, removed, put in or put in another order, but not that its
last entries were cut off, nor that an alias was moved without an entry. So the ledger is compared
with three other things that name the champion: the aliases, the tag `ledger.entry` of each version,
and champion.json in the service folder. (The chain is that of Haber and Stornetta, "How to
time-stamp a digital document", Journal of Cryptology 3 (1991), section 5.1.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cracks.system.hashing import digest_of_value

#: What the first entry names as the one before it.
NO_ENTRY = "0" * 64

#: Letters of `who` and `why` that are kept: a parameter of MLflow holds 6000, and JSON in ASCII
#: takes up to 12 for one.
LONGEST_WHO, LONGEST_WHY = 80, 320

Kind = Literal["promote", "rollback"]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Identity = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]


class Entry(BaseModel):
    """One change of the champion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    number: Annotated[int, Field(ge=1)]
    kind: Kind
    #: Of the command that wrote it, so that doing it again never writes it twice.
    transaction: Identity
    at: str  # ISO 8601, UTC
    who: str
    from_version: str | None
    to_version: str
    why: str
    verdict: str
    run_id: str
    git_commit: str
    dvc_lock_digest: str
    data_digest: str
    bundle_digest: Digest
    #: The hash of the entry before.
    previous: Digest

    @property
    def hash(self) -> str:
        """The SHA-256 of the entry, which the next one names."""
        return digest_of_value(self.model_dump())

    @property
    def text(self) -> str:
        """The one way to write the entry as JSON."""
        return json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"))

    @property
    def title(self) -> str:
        """What a list of entries calls it."""
        instead = f" for version {self.from_version}" if self.from_version else ""
        return f"{self.number} {self.kind}: version {self.to_version}{instead}"

    @property
    def history_row(self) -> dict[str, Any]:
        """What the service tells of it."""
        return {
            "version": self.to_version,
            "from_version": self.from_version,
            "kind": self.kind,
            "time": self.at,
            "who": self.who,
            "why": self.why,
        }

    @property
    def tags(self) -> dict[str, str]:
        """What a person wants to see of it in a list."""
        return {
            "who": self.who,
            "why": self.why,
            "from": self.from_version or "",
            "to": self.to_version,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class StoredEntry:
    """An entry as the store has it, which may be altered."""

    place: str  # what finds it in the store, e.g. a run id
    text: str
    hash: str  # as written beside the text
    title: str
    tags: Mapping[str, str] = field(default_factory=dict)
    deleted: bool = False

    @property
    def entry(self) -> Entry | None:
        """The entry, or None where the text is none any more."""
        try:
            return Entry.model_validate_json(self.text)
        except ValidationError:
            return None


def following(last: Entry | None, *, who: str, why: str, **change: Any) -> Entry:
    """Return the entry that comes after `last`, or the first.

    Args:
        last: the entry before it, if there is one.
        who: the person.
        why: in their words.
        change: the other fields by name; `at` is now if not given.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Entry(
        number=last.number + 1 if last else 1,
        previous=last.hash if last else NO_ENTRY,
        who=printable_line(who, LONGEST_WHO),
        why=printable_line(why, LONGEST_WHY),
        **({"at": now} | change),
    )


def printable_line(text: str, longest: int) -> str:
    """Return what a person wrote as one line that every database takes, cut where it is too long.

    PostgreSQL takes no NUL, and no UTF-8 has the halves of characters that a terminal may send.
    """
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    line = " ".join(printable.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def readable(stored: Sequence[StoredEntry]) -> list[Entry]:
    """Return the entries that can still be read, in their order."""
    entries = [one.entry for one in stored]
    return sorted((one for one in entries if one), key=lambda one: (one.number, one.at))


def storage_problems(stored: Sequence[StoredEntry]) -> list[str]:
    """Return what was altered in single entries, each in a sentence that names the entry."""
    return [problem for one in stored for problem in _problems_of(one)]


def _problems_of(stored: StoredEntry) -> list[str]:
    entry = stored.entry
    if entry is None:
        return [f"Entry '{stored.title}' ({stored.place}) was altered: it cannot be read any more."]
    named = f"Entry {entry.number} ({stored.place})"
    problems = []
    if stored.text != entry.text or stored.hash != entry.hash:
        problems.append(f"{named} was altered: its text and its hash do not belong together.")
    if stored.deleted:
        problems.append(f"{named} was deleted in MLflow, where it can still be restored.")
    shown = {key: stored.tags.get(key, "") for key in entry.tags}
    differing = [key for key, value in entry.tags.items() if shown[key] != value]
    if stored.title != entry.title:
        differing.insert(0, "name")
    problems += [
        f"{named} is shown in MLflow with another {key} than it has: that was altered there."
        for key in differing
    ]
    return problems


def chain_problems(entries: Sequence[Entry]) -> list[str]:
    """Return where the chain is broken, each in a sentence that names the entry."""
    problems: list[str] = []
    before: Entry | None = None
    for place, entry in enumerate(entries, start=1):
        if entry.number != place:
            problems.append(
                f"Entry {entry.number} stands where entry {place} belongs: an entry was removed, "
                "put in, or renumbered."
            )
        if entry.previous != (before.hash if before else NO_ENTRY):
            problems.append(_broken_seal(before, entry))
        elif before and entry.from_version != before.to_version:
            problems.append(
                f"Entry {entry.number} replaces version {entry.from_version}, but entry "
                f"{before.number} put version {before.to_version} into service."
            )
        before = entry
    return [*problems, *_repeated(entries)]


def _broken_seal(before: Entry | None, entry: Entry) -> str:
    if before is None:
        return f"Entry {entry.number} is the first that is left, but it names one before it."
    return (
        f"Entry {entry.number} does not seal entry {before.number} as it is now: entry "
        f"{before.number} was altered, or what stood between them."
    )


def _repeated(entries: Sequence[Entry]) -> list[str]:
    first: dict[str, int] = {}
    problems = []
    for entry in entries:
        known = first.setdefault(entry.transaction, entry.number)
        if known != entry.number:
            problems.append(f"Entry {entry.number} is of the same transaction as entry {known}.")
    return problems
