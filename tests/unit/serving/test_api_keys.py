"""API keys of the service: made once, kept as digests, revocable at any time."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cracks.errors import ServiceError
from serving.middleware.api_keys import (
    KeyRing,
    create_key,
    given_key,
    is_open,
    keep_key,
    new_key,
    read_keys,
    revoke_key,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "service" / "keys.json"


def test_a_key_opens_and_is_known_by_its_owner(file: Path) -> None:
    ann, ben = create_key(file, "ann"), create_key(file, "ben")
    ring = KeyRing(file)
    assert (ring.name_of(ann), ring.name_of(ben)) == ("ann", "ben")
    assert ring.name_of(ann[:-1]) is None
    assert ring.name_of("") is None


def test_keys_are_long_recognisable_and_never_the_same(file: Path) -> None:
    keys = [create_key(file, f"k{n}") for n in range(20)]
    assert len(set(keys)) == 20
    for key in keys:
        assert key.startswith("crk_")
        assert len(key.removeprefix("crk_")) * 6 >= 256  # Base64 has six bits a character


def test_only_digests_are_kept_in_a_file_that_nobody_else_reads(file: Path) -> None:
    key = create_key(file, "ann")
    assert key not in file.read_text()
    assert key[4:20] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    revoke_key(file, "ann")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (listed,) = read_keys(file)
    assert (listed.name, listed.ending) == ("ann", key[-4:])


def test_a_key_made_elsewhere_opens_until_another_takes_its_name_or_it_is_revoked(
    file: Path,
) -> None:
    ann, first, second = create_key(file, "ann"), new_key(), new_key()
    ring = KeyRing(file)
    keep_key(file, "stack", first)
    written = file.read_bytes()
    keep_key(file, "stack", first)
    assert file.read_bytes() == written
    assert (ring.name_of(ann), ring.name_of(first)) == ("ann", "stack")
    keep_key(file, "stack", second)
    assert (ring.name_of(ann), ring.name_of(first)) == ("ann", None)
    assert ring.name_of(second) == "stack"
    revoke_key(file, "stack")
    keep_key(file, "stack", second)
    assert ring.name_of(second) is None


def test_a_revoked_key_is_refused_at_once_and_stays_in_the_list(file: Path) -> None:
    ann, ben = create_key(file, "ann"), create_key(file, "ben")
    ring = KeyRing(file)
    assert ring.name_of(ann) == "ann"
    revoke_key(file, "ann")
    assert ring.name_of(ann) is None
    assert ring.name_of(ben) == "ben"
    assert [(one.name, one.revoked is None) for one in read_keys(file)] == [
        ("ann", False),
        ("ben", True),
    ]


def test_a_name_can_be_given_again_once_its_key_was_revoked(file: Path) -> None:
    old = create_key(file, "ann")
    with pytest.raises(ServiceError, match="There is a key ann already"):
        create_key(file, "ann")
    revoke_key(file, "ann")
    new = create_key(file, "ann")
    ring = KeyRing(file)
    assert (ring.name_of(old), ring.name_of(new)) == (None, "ann")


def test_what_is_no_name_or_no_key_is_refused_in_words(file: Path) -> None:
    for name in ("", "../ann", "a b", "x" * 65, "ann\n"):
        with pytest.raises(ServiceError, match="is no name for a key"):
            create_key(file, name)
    with pytest.raises(ServiceError, match="There is no key 'ann' in use"):
        revoke_key(file, "ann")


def test_a_damaged_file_opens_nothing_until_it_is_fixed(file: Path) -> None:
    key = create_key(file, "ann")
    ring, sound = KeyRing(file), file.read_bytes()
    assert ring.name_of(key) == "ann"
    file.write_text('{"keys": [{"name": "ann"}]}')
    assert ring.name_of(key) is None
    with pytest.raises(ServiceError, match="is damaged"):
        read_keys(file)
    file.write_bytes(sound)
    assert ring.name_of(key) == "ann"
    file.unlink()
    assert ring.name_of(key) is None


def test_keys_made_at_the_same_time_are_all_kept(file: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda n: create_key(file, f"k{n}"), range(16)))
    ring = KeyRing(file)
    assert [ring.name_of(key) for key in keys] == [f"k{n}" for n in range(16)]
    assert len(json.loads(file.read_text())["keys"]) == 16


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([(b"authorization", b"Bearer crk_1")], "crk_1"),
        ([(b"authorization", b"bearer   crk_1 ")], "crk_1"),
        ([(b"x-api-key", b"crk_2")], "crk_2"),
        ([(b"authorization", b"Basic YTpi"), (b"x-api-key", b"crk_2")], "crk_2"),
        ([(b"authorization", b"Bearer crk_1"), (b"x-api-key", b"crk_2")], "crk_1"),
        ([(b"authorization", b"crk_1")], ""),
        ([], ""),
    ],
)
def test_a_key_comes_in_either_of_two_headers(headers: list[tuple[bytes, bytes]], key: str) -> None:
    assert given_key({"type": "http", "headers": headers}) == key


def test_only_the_page_and_signs_of_life_need_no_key() -> None:
    alive = ("/health", "/ready", "/ping", "/v2/health/live", "/v2/health/ready")
    assert all(map(is_open, (*alive, "/", "/pipeline", "/page/page.css")))
    closed = ("/predict", "/inspect", "/model", "/metrics", "/answers", "/openapi.json", "/page")
    assert not any(map(is_open, (*closed, "//", "/health/", "/Health", "/v2", "")))
