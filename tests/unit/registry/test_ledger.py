"""The ledger: each entry seals the one before, and whatever was altered is named."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cracks.inference.handover.champion import Champion
from cracks.registry.ledger import (
    LONGEST_WHY,
    NO_ENTRY,
    Entry,
    StoredEntry,
    chain_problems,
    printable_line,
    readable,
)
from cracks.registry.mlflow_store.records import ModelVersion
from cracks.registry.promotion.audit import ledger_problems, registry_problems, service_problems
from cracks.registry.tags import BUNDLE_TAG, LEDGER_TAG
from tests.unit.builders import entry_after

#: What was put into service, one after the other.
VERSIONS = ("1", "2", "3", "2", "3")


def chain(*versions: str) -> list[Entry]:
    entries: list[Entry] = []
    for version in versions:
        entries.append(entry_after(entries[-1] if entries else None, version))
    return entries


def stored(entry: Entry, **changed: Any) -> StoredEntry:
    one = StoredEntry(
        place=f"run {entry.number}",
        text=entry.text,
        hash=entry.hash,
        title=entry.title,
        tags=entry.tags,
    )
    return replace(one, **changed)


ENTRIES = chain(*VERSIONS)
STORED = [stored(entry) for entry in ENTRIES]


# --- a chain --------------------------------------------------------------------------------------


def test_an_unaltered_ledger_has_no_problem() -> None:
    assert ledger_problems(STORED) == []
    assert ledger_problems([]) == []


def test_entries_are_numbered_from_one_and_each_names_the_one_before() -> None:
    assert [entry.number for entry in ENTRIES] == [1, 2, 3, 4, 5]
    assert ENTRIES[0].previous == NO_ENTRY
    assert [entry.previous for entry in ENTRIES[1:]] == [entry.hash for entry in ENTRIES[:-1]]


def test_the_hash_of_an_entry_never_changes() -> None:
    # Were it computed in another way, every ledger that exists would count as altered.
    first = entry_after(None, "1", bundle_digest="a" * 64)
    assert first.hash == "4b419b2a30d6f84556f8e625dd37d756f19ddf096d58d7945bc4745fbc22e927"


def test_the_order_in_which_the_store_gives_the_entries_does_not_matter() -> None:
    shuffled = random.Random(1).sample(STORED, len(STORED))
    assert readable(shuffled) == ENTRIES
    assert ledger_problems(shuffled) == []


@pytest.mark.parametrize("at", [ENTRIES[-1].at, ENTRIES[0].at, "2020-01-01T00:00:00+00:00"])
def test_entries_are_in_the_order_of_their_numbers_whatever_the_clocks_said(at: str) -> None:
    # The clocks of two hosts differ, and two entries may be of one second.
    last = stored(entry_after(ENTRIES[-1], "1", at=at))
    assert readable([last, *STORED])[-1].number == 6
    assert ledger_problems([last, *STORED]) == []


@given(number=st.integers(0, len(ENTRIES) - 1), data=st.data())
def test_any_byte_changed_in_any_entry_is_found_and_named(number: int, data: st.DataObject) -> None:
    content = bytearray(STORED[number].text, "ascii")
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 127))
    kept = list(STORED)
    kept[number] = replace(STORED[number], text=content.decode("ascii"))
    assert any(f"(run {number + 1}) was altered" in problem for problem in ledger_problems(kept))


@given(number=st.integers(0, len(ENTRIES) - 1), place=st.integers(0, 63))
def test_any_digit_changed_in_any_hash_is_found_and_named(number: int, place: int) -> None:
    digits = list(STORED[number].hash)
    digits[place] = "0" if digits[place] != "0" else "1"
    kept = list(STORED)
    kept[number] = replace(STORED[number], hash="".join(digits))
    assert any(f"Entry {number + 1} " in problem for problem in ledger_problems(kept))


@pytest.mark.parametrize("number", range(1, len(ENTRIES)))
def test_an_entry_that_was_rewritten_with_its_own_hash_breaks_the_chain(number: int) -> None:
    forged = ENTRIES[number - 1].model_copy(update={"who": "Bob"})
    kept = list(STORED)
    kept[number - 1] = stored(forged)
    (problem,) = ledger_problems(kept)
    assert f"entry {number} was altered" in problem


@pytest.mark.parametrize("number", range(1, len(ENTRIES)))
def test_an_entry_that_was_removed_is_missed(number: int) -> None:
    kept = [one for one in STORED if one is not STORED[number - 1]]
    assert any(f"Entry {number + 1} " in problem for problem in ledger_problems(kept))


@pytest.mark.parametrize("number", range(1, len(ENTRIES)))
def test_entries_that_changed_their_places_are_named(number: int) -> None:
    swapped = list(ENTRIES)
    swapped[number - 1], swapped[number] = swapped[number], swapped[number - 1]
    found = chain_problems(swapped)
    assert any(f"Entry {number} stands where entry {number + 1}" in problem for problem in found)


@pytest.mark.parametrize("number", range(1, len(ENTRIES)))
def test_an_entry_that_was_put_in_between_is_named(number: int) -> None:
    false = entry_after(ENTRIES[number - 1], "1", transaction="f" * 32)
    found = ledger_problems([*STORED, stored(false)])
    assert any(f"Entry {number + 1} stands where entry {number + 2}" in one for one in found)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (
            entry_after(ENTRIES[-1], "3", transaction=ENTRIES[-1].transaction),
            "Entry 6 is of the same transaction as entry 5.",
        ),
        (
            entry_after(ENTRIES[-1], "2", from_version="1"),
            "Entry 6 replaces version 1, but entry 5 put version 3 into service.",
        ),
    ],
)
def test_an_entry_that_repeats_or_contradicts_the_last_one_is_named(
    entry: Entry, problem: str
) -> None:
    assert problem in ledger_problems([*STORED, stored(entry)])


def test_an_entry_that_was_deleted_in_mlflow_is_named_and_still_counts() -> None:
    kept = [*STORED[:-1], replace(STORED[-1], deleted=True)]
    assert readable(kept) == ENTRIES
    (problem,) = ledger_problems(kept)
    assert problem.startswith("Entry 5 (run 5) was deleted in MLflow")


@pytest.mark.parametrize("shown", ["who", "why", "from", "to", "verdict", "name"])
def test_what_mlflow_shows_of_an_entry_is_compared_with_it(shown: str) -> None:
    tags = {**STORED[-1].tags, shown: "another"}
    altered = {"title": "1 promote: version 9"} if shown == "name" else {"tags": tags}
    (problem,) = ledger_problems([*STORED[:-1], stored(ENTRIES[-1], **altered)])
    assert f"Entry 5 (run 5) is shown in MLflow with another {shown}" in problem


# --- what a person writes -------------------------------------------------------------------------


@given(st.text(st.characters(), max_size=700))
@example("\U0001f9f1" * 700)
@example("a\x00b\udcff\n")
def test_whatever_a_person_writes_makes_an_entry_that_every_database_takes(text: str) -> None:
    entry = entry_after(None, "1", why=text, who=text)
    assert Entry.model_validate_json(entry.text) == entry
    assert "\x00" not in entry.why
    entry.why.encode("utf-8")
    assert len(entry.text) <= 6000  # what a parameter of MLflow holds


def test_lines_become_one_line_and_a_long_text_is_cut() -> None:
    assert printable_line(" two\n lines\t", 20) == "two lines"
    assert printable_line("x" * 900, LONGEST_WHY) == "x" * (LONGEST_WHY - 1) + "…"


def test_an_entry_takes_nothing_that_it_does_not_know() -> None:
    content = json.loads(ENTRIES[0].text)
    assert stored(ENTRIES[0], text=json.dumps(content | {"extra": 1})).entry is None
    assert stored(ENTRIES[0], text=json.dumps(content | {"number": "1"})).entry is None


# --- the registry ---------------------------------------------------------------------------------

AGREEING = [
    ModelVersion(
        "crack-classifier",
        version,
        f"run-{version}",
        aliases,
        {BUNDLE_TAG: version * 64, LEDGER_TAG: ENTRIES[entry - 1].hash},
    )
    for version, entry, aliases in (("3", 5, ["champion"]), ("2", 4, ["previous"]), ("1", 1, []))
]


def renamed(**aliases: str | None) -> list[ModelVersion]:
    """Return the versions with other aliases."""
    return [
        replace(one, aliases=[alias for alias, named in aliases.items() if named == one.version])
        for one in AGREEING
    ]


def retagged(version: str, tag: str, value: str | None) -> list[ModelVersion]:
    """Return the versions, one of them with another value of a tag, or without the tag."""

    def changed(tags: dict[str, str]) -> dict[str, str]:
        kept = {key: tags[key] for key in tags if key != tag}
        return kept if value is None else {**kept, tag: value}

    return [
        replace(one, tags=changed(one.tags)) if one.version == version else one for one in AGREEING
    ]


def test_a_registry_that_agrees_has_no_problem() -> None:
    assert registry_problems(ENTRIES, AGREEING) == []


@pytest.mark.parametrize("alias", ["champion", "previous"])
@pytest.mark.parametrize("version", ["1", None])
def test_an_alias_that_was_moved_behind_the_ledger_is_named(alias: str, version: str) -> None:
    moved = renamed(**{"champion": "3", "previous": "2", alias: version})
    (problem,) = registry_problems(ENTRIES, moved)
    assert problem.startswith(f"The alias {alias} was moved by hand: it names ")
    assert f"it is version {'3' if alias == 'champion' else '2'}" in problem


def test_a_champion_without_any_entry_is_named_with_a_remedy() -> None:
    fresh = [replace(one, tags={}) for one in renamed(champion="2")]
    (problem,) = registry_problems([], fresh)
    assert "version 2" in problem
    assert "`cracks promote 2`" in problem
    assert registry_problems([], [replace(one, aliases=[]) for one in fresh]) == []


def test_a_version_of_the_ledger_that_is_gone_is_named() -> None:
    (problem,) = registry_problems(ENTRIES, AGREEING[:-1])
    assert problem == "Version 1, which entry 1 put into service, is gone."


@pytest.mark.parametrize("digest", ["f" * 64, None])
def test_a_version_whose_bundle_digest_has_changed_is_named(digest: str | None) -> None:
    (problem,) = registry_problems(ENTRIES, retagged("2", BUNDLE_TAG, digest))
    assert problem.startswith("Version 2 has another bundle digest")


@pytest.mark.parametrize("left", range(len(ENTRIES)))
def test_entries_that_were_cut_off_are_missed_by_the_versions(left: int) -> None:
    cut = ENTRIES[:left]
    assert chain_problems(cut) == []
    # Even where whoever cut them off has moved the aliases back.
    aliases = {"champion": cut[-1].to_version, "previous": cut[-1].from_version} if cut else {}
    found = registry_problems(cut, renamed(**aliases))
    assert any("version 3 champion" in one and "not in the ledger any more" in one for one in found)


@pytest.mark.parametrize("anchor", [None, ENTRIES[2].hash])
def test_a_version_that_names_an_older_entry_or_none_is_told_of(anchor: str | None) -> None:
    (problem,) = registry_problems(ENTRIES, retagged("3", LEDGER_TAG, anchor))
    assert "The tag ledger.entry of version 3 does not name entry 5" in problem


# --- the service ----------------------------------------------------------------------------------

IN_SERVICE = Champion(
    model_name="crack-classifier",
    version="3",
    run_id="run-3",
    bundle="v3-333333333333",
    bundle_digest="3" * 64,
    promoted_at="2026-11-05T08:00:00+00:00",
    transaction=ENTRIES[-1].transaction,
)


def test_a_service_that_agrees_has_no_problem() -> None:
    assert service_problems(ENTRIES, IN_SERVICE) == []
    assert service_problems([], None) == []


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"version": "2"}, "version 2"),
        ({"run_id": "run-9"}, "run run-9"),
        ({"bundle_digest": "f" * 64}, "bundle digest ffff"),
        ({"transaction": "f" * 32}, "transaction ffff"),
    ],
)
def test_a_service_that_was_told_something_else_is_named(changed: Any, named: str) -> None:
    (problem,) = service_problems(ENTRIES, IN_SERVICE.model_copy(update=changed))
    assert problem.startswith(f"champion.json names {named}")
    assert "entry 5" in problem


def test_a_service_that_names_nothing_is_told_of_with_a_remedy() -> None:
    (problem,) = service_problems(ENTRIES, None)
    assert "`cracks promote 3`" in problem


def test_a_service_that_was_told_without_the_ledger_is_named() -> None:
    assert service_problems([], IN_SERVICE) == [
        "champion.json names version 3, but the ledger has no entry."
    ]
