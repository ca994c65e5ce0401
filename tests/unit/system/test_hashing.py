"""Digests: the identity of data and bundles."""

from __future__ import annotations

from pathlib import Path

from cracks.system.hashing import digest_of_bytes, digest_of_file, digest_of_value, digest_of_values

#: FIPS 180-2, appendix B.1.
SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_digest_is_the_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert digest_of_bytes(b"abc") == digest_of_file(tmp_path / "abc") == SHA256_OF_ABC


def test_a_big_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "big").write_bytes(content)
    assert digest_of_file(tmp_path / "big") == digest_of_bytes(content)


def test_the_order_of_keys_does_not_change_a_digest_but_the_order_of_items_does() -> None:
    assert digest_of_value({"a": 1, "b": 2}) == digest_of_value({"b": 2, "a": 1})
    assert digest_of_value([1, 2]) != digest_of_value([2, 1])


def test_many_values_have_the_digest_of_their_order_and_of_where_each_ends() -> None:
    variants = [[], [[]], ["ab"], ["a", "b"], ["b", "a"], [["a", "b"]], ["a", "b", ""]]
    digests = [digest_of_values(variant) for variant in variants]
    assert len(set(digests)) == len(variants)
    assert {len(digest) for digest in digests} == {64}
    assert digest_of_values(iter(["a", "b"])) == digest_of_values(["a", "b"])


def test_a_name_that_is_no_utf8_has_a_digest_of_its_own() -> None:
    assert digest_of_value(["\udcff"]) != digest_of_value(["\udcfe"])
