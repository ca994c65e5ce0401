"""The settings of a bucket: how each one is read, how it must be, and how it is written.

What others have added to a bucket (rules of its lifecycle, statements of its policy) is kept and
told. What begins with `cracks` is this project's own, and is brought to how it must be.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from typing_extensions import override

from infra.aws.names import Wanted

#: How the rules and statements begin that are this project's own.
OWN = "cracks"

#: One setting as AWS says it; None where it was never set.
Found = Any


class Setting(ABC):
    """One setting of a bucket."""

    name: ClassVar[str]
    #: What AWS says where the setting was never made.
    absent: ClassVar[str] = ""

    @abstractmethod
    def read(self, client: Any, bucket: str) -> Found:
        """Return how it is."""

    @abstractmethod
    def must_be(self, found: Found, purpose: str, wanted: Wanted) -> Found:
        """Return how it must be, where it is as `found`; equal to `found` if nothing is to do."""

    @abstractmethod
    def write(self, client: Any, bucket: str, value: Found) -> None:
        """Make it so."""

    @abstractmethod
    def say(self, value: Found) -> str:
        """Return it in words, short."""

    def of_others(self, found: Found) -> list[str]:
        """Return in words what others have added, which is kept."""
        del found
        return []


class PublicAccess(Setting):
    """Nobody outside the account reads or writes, whatever a policy or an ACL says."""

    name = "public access"
    absent = "NoSuchPublicAccessBlockConfiguration"
    BLOCKED: ClassVar[dict[str, bool]] = {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": True,
    }

    @override
    def read(self, client: Any, bucket: str) -> Found:
        return client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]

    @override
    def must_be(self, found: Found, purpose: str, wanted: Wanted) -> Found:
        return self.BLOCKED

    @override
    def write(self, client: Any, bucket: str, value: Found) -> None:
        client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=value)

    @override
    def say(self, value: Found) -> str:
        if value is None:
            return "not blocked"
        off = [switch for switch in self.BLOCKED if not value.get(switch)]
        return f"without {', '.join(off)}" if off else "blocked"


class Encryption(Setting):
    """Every object is encrypted; keys of KMS, if somebody chose them, stay."""

    name = "encryption"
    absent = "ServerSideEncryptionConfigurationNotFoundError"

    @override
    def read(self, client: Any, bucket: str) -> Found:
        response = client.get_bucket_encryption(Bucket=bucket)
        for rule in response["ServerSideEncryptionConfiguration"]["Rules"]:
            if chosen := rule.get("ApplyServerSideEncryptionByDefault"):
                return chosen
        return None

    @override
    def must_be(self, found: Found, purpose: str, wanted: Wanted) -> Found:
        """Return AES256, or what is set: AWS knows nothing weaker."""
        return found or {"SSEAlgorithm": "AES256"}

    @override
    def write(self, client: Any, bucket: str, value: Found) -> None:
        rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": value}]}
        client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=rules)

    @override
    def say(self, value: Found) -> str:
        return str(value["SSEAlgorithm"]) if value else "none"


class Versioning(Setting):
    """What is replaced or deleted is kept for a while."""

    name = "versioning"

    @override
    def read(self, client: Any, bucket: str) -> Found:
        return client.get_bucket_versioning(Bucket=bucket).get("Status")

    @override
    def must_be(self, found: Found, purpose: str, wanted: Wanted) -> Found:
        return "Enabled"

    @override
    def write(self, client: Any, bucket: str, value: Found) -> None:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": value})

    @override
    def say(self, value: Found) -> str:
        return str(value or "never enabled")


class Lifecycle(Setting):
    """How long replaced versions, unfinished uploads and served predictions are kept."""

    name = "lifecycle"
    absent = "NoSuchLifecycleConfiguration"

    @override
    def read(self, client: Any, bucket: str) -> Found:
        return client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]

    @override
    def must_be(self, found: Found, purpose: str, wanted: Wanted) -> Found:
        """Return the rules of others, then the own ones."""
        rules = _own_rules(purpose, wanted)
        own, others = _split(found, "ID")
        if sorted(map(_comparable, own)) == sorted(map(_comparable, rules)):
            return found
        return [*others, *rules]

    @override
    def write(self, client: Any, bucket: str, value: Found) -> None:
        """Replace all rules; those of others are among `value`."""
        client.put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration={"Rules": value}
        )

    @override
    def say(self, value: Found) -> str:
        own, _ = _split(value, "ID")
        return "; ".join(sorted(map(_rule_in_words, own))) or "no rule of ours"

    @override
    def of_others(self, found: Found) -> list[str]:
        """Name the rules of others, above all those that expire what is kept."""
        _, others = _split(found, "ID")
        return [f"{rule.get('ID', 'without id')}: {_rule_in_words(rule)}" for rule in others]


def _own_rules(purpose: str, wanted: Wanted) -> list[dict[str, Any]]:
    rules = [
        _rule(
            "noncurrent",
            NoncurrentVersionExpiration={"NoncurrentDays": wanted.noncurrent_days},
            # Where the last version is gone, the mark that it was deleted is of no use any more.
            Expiration={"ExpiredObjectDeleteMarker": True},
        ),
        _rule(
            "uploads", AbortIncompleteMultipartUpload={"DaysAfterInitiation": wanted.upload_days}
        ),
    ]
    if purpose == "answers":
        rules.append(_rule("answers", Expiration={"Days": wanted.answers_days}))
    return rules


def _rule(name: str, **actions: Any) -> dict[str, Any]:
    return {"ID": f"{OWN}-{name}", "Status": "Enabled", "Filter": {"Prefix": ""}, **actions}


def _comparable(value: Any) -> str:
    """Return a rule or statement as text, the same for all ways in which AWS may write it.

    A list of one is written as the one, the order of a list is free, and the filter that lets
    everything pass may be left out.
    """
    if isinstance(value, dict):
        parts = {key: _comparable(part) for key, part in value.items() if part not in ({}, "")}
        return json.dumps(
            {key: part for key, part in parts.items() if part != "{}"}, sort_keys=True
        )
    if isinstance(value, list):
        parts_of_list = sorted(map(_comparable, value))
        return parts_of_list[0] if len(parts_of_list) == 1 else json.dumps(parts_of_list)
    return json.dumps(value)


def _split(
    found: Sequence[dict[str, Any]] | None, key: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the own rules or statements, by their name in `key`, and those of others."""
    own: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for one in found or []:
        is_own = (one.get(key) or "").lower().startswith(OWN)
        (own if is_own else others).append(one)
    return own, others


def _rule_in_words(rule: dict[str, Any]) -> str:
    expiration = rule.get("Expiration", {})
    noncurrent = rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays")
    uploads = rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation")
    words = [
        f"objects expire after {expiration['Days']} days" if "Days" in expiration else "",
        f"objects expire on {expiration['Date']}" if "Date" in expiration else "",
        f"old versions expire after {noncurrent} days" if noncurrent else "",
        f"uploads end after {uploads} days" if uploads else "",
        "moves to another storage class" if rule.get("Transitions") else "",
    ]
    said = ", ".join(filter(None, words)) or "another rule"
    return said if rule.get("Status") == "Enabled" else f"{said} (disabled)"


class TlsOnly(Setting):
    """Requests without TLS are refused, whoever sends them."""

    name = "bucket policy"
    absent = "NoSuchBucketPolicy"

    @override
    def read(self, client: Any, bucket: str) -> Found:
        return json.loads(client.get_bucket_policy(Bucket=bucket)["Policy"])

    @override
    def must_be(self, found: Found, purpose: str, wanted: Wanted) -> Found:
        """Return the statements of others, then the own one."""
        statement = _without_tls(wanted.buckets[purpose])
        own, others = _split(_statements(found), "Sid")
        if list(map(_comparable, own)) == [_comparable(statement)]:
            return found
        return {**(found or {"Version": "2012-10-17"}), "Statement": [*others, statement]}

    @override
    def write(self, client: Any, bucket: str, value: Found) -> None:
        """Replace the policy; the statements of others are among `value`."""
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(value))

    @override
    def say(self, value: Found) -> str:
        own, _ = _split(_statements(value), "Sid")
        if not own:
            return "takes requests without TLS"
        bucket = min(_listed(own[0].get("Resource", "?"))).rpartition(":")[2]
        is_ours = list(map(_comparable, own)) == [_comparable(_without_tls(bucket))]
        return "TLS only" if is_ours else "TLS only, altered"

    @override
    def of_others(self, found: Found) -> list[str]:
        _, others = _split(_statements(found), "Sid")
        return [f"{one.get('Sid', 'without Sid')}: {one.get('Effect')}" for one in others]


def _statements(policy: Found) -> list[dict[str, Any]]:
    """Return the statements of a policy, of which AWS takes a single one without a list too."""
    return _listed((policy or {}).get("Statement", []))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _without_tls(bucket: str) -> dict[str, Any]:
    return {
        "Sid": "CracksRefuseWithoutTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


#: In the order in which they are made: first of all nobody else may come in.
SETTINGS: tuple[Setting, ...] = (
    PublicAccess(),
    Encryption(),
    Versioning(),
    Lifecycle(),
    TlsOnly(),
)
