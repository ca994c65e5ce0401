"""The policies of `infra/aws/policies`: each role may do its work, and nothing besides.

A real server asks the policy about every request (moto enforces actions and resources of S3, and
the signature; it knows no conditions, and the policies have none). Where moto calls an action
otherwise than AWS does (it takes some settings of buckets for CreateBucket, and the deletion of
many objects for one of the bucket), the test reads the policy itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import pytest
from aws_server import REGION, AwsServer, Credentials
from processes import StartProcess

from infra.aws.bootstrap import Bootstrap
from infra.aws.names import PURPOSES, wanted_of
from infra.aws.rendering import FOLDER, ROLES, render_policy
from infra.backup.restoring import MARK

BUCKETS = {purpose: f"team-{purpose}" for purpose in PURPOSES}

#: What each role may do with the objects of which bucket; everything else is refused.
ALLOWED = {
    "worker": {"dvc": "list read write", "answers": "list read"},
    "mlflow-server": {"mlflow": "list read write delete"},
    "serving": {"answers": "list read write delete"},
    "operator": {
        "mlflow": "list read write versions",
        "dvc": "list read write delete versions",
        "answers": "list read write versions",
        "backups": "list read write versions",
    },
}


def _upload(s3: Any, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
    s3.abort_multipart_upload(Bucket=bucket, Key="big", UploadId=upload)


DEEDS: dict[str, Callable[[Any, str], object]] = {
    "list": lambda s3, bucket: s3.list_objects_v2(Bucket=bucket),
    "read": lambda s3, bucket: s3.get_object(Bucket=bucket, Key="folder/object"),
    "write": lambda s3, bucket: s3.put_object(Bucket=bucket, Key="folder/new", Body=b"new"),
    "delete": lambda s3, bucket: s3.delete_object(Bucket=bucket, Key="spare"),
    "versions": lambda s3, bucket: s3.list_object_versions(Bucket=bucket),
}


@dataclass(frozen=True)
class Guarded:
    """A server that enforces the policies, and of each role credentials and a client."""

    server: AwsServer
    roles: dict[str, Credentials]
    clients: dict[str, Any]

    def may(self, role: str, deed: str, bucket: str) -> bool:
        s3 = self.clients[role]
        try:
            DEEDS[deed](s3, bucket)
        except s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "AccessDenied":
                raise
            return False
        return True


@pytest.fixture(scope="module")
def guarded(start_for_module: StartProcess) -> Guarded:
    return guard(start_for_module)


def guard(start: StartProcess) -> Guarded:
    """Start a server that holds to the policies, with the buckets of a team and of others."""
    server = AwsServer.start(start)
    s3 = server.client("s3")
    for name in (*BUCKETS.values(), "of-somebody-else", "team-dvc-old"):
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        for key in ("folder/object", "spare"):
            s3.put_object(Bucket=name, Key=key, Body=b"content")
    roles = {role: server.user(role, render_policy(role, BUCKETS)) for role in ROLES}
    server.enforce()
    return Guarded(server, roles, {role: server.client("s3", who) for role, who in roles.items()})


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_its_work_and_nothing_else(guarded: Guarded, role: str) -> None:
    allowed = {BUCKETS[one]: deeds.split() for one, deeds in ALLOWED[role].items()}
    buckets = (*BUCKETS.values(), "of-somebody-else", "team-dvc-old")
    for bucket, deed in product(buckets, DEEDS):
        expected = deed in allowed.get(bucket, [])
        assert guarded.may(role, deed, bucket) is expected, f"{role}: {deed} {bucket}"


@pytest.mark.parametrize("role", ["worker", "mlflow-server", "operator"])
def test_who_writes_large_files_may_write_them_in_parts(guarded: Guarded, role: str) -> None:
    bucket = "team-mlflow" if role == "mlflow-server" else "team-dvc"
    _upload(guarded.clients[role], bucket)


def test_the_operator_may_end_a_restore_and_still_deletes_nothing_that_counts(
    guarded: Guarded,
) -> None:
    s3 = guarded.clients["operator"]
    for bucket in ("team-mlflow", "team-dvc", "team-answers"):
        for key in (MARK, f"artifacts/{MARK}"):
            s3.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(s3.exceptions.ClientError, match="AccessDenied"):
        s3.delete_object(Bucket="team-backups", Key=MARK)


def test_the_policy_of_the_operator_is_enough_to_make_the_buckets(
    start: StartProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = guard(start)  # its buckets refuse afterwards what is not encrypted on the way
    for name, value in guarded.server.variables(guarded.roles["operator"]).items():
        monkeypatch.setenv(name, value)
    bootstrap = Bootstrap(wanted_of({"region": REGION}, "team"))
    assert bootstrap.act()
    assert bootstrap.plan() == []


@pytest.mark.parametrize("role", ROLES)
def test_no_policy_is_wider_than_it_reads(role: str) -> None:
    policy = json.loads(render_policy(role, BUCKETS))
    assert len(json.dumps(policy, separators=(",", ":"))) < 6144, "what AWS takes for one policy"
    for statement in policy["Statement"]:
        assert set(statement) == {"Sid", "Effect", "Action", "Resource"}
        assert statement["Effect"] == "Allow"
        actions = as_list(statement["Action"])
        assert not [one for one in actions if "*" in one or not one.startswith("s3:")]
        if actions != ["s3:ListAllMyBuckets"]:  # which AWS grants for all or none
            arns = {f"arn:aws:s3:::{name}" for name in BUCKETS.values()}
            named = [one.partition("/") for one in as_list(statement["Resource"])]
            assert {bucket for bucket, _, _ in named} <= arns
            assert {key for _, _, key in named} <= {"", "*", f"*{MARK}"}


#: What each setting of a bucket needs, by the names that AWS has for it (service authorization
#: reference, "Actions, resources, and condition keys for Amazon S3").
OF_SETTINGS = (
    "BucketPublicAccessBlock",
    "EncryptionConfiguration",
    "BucketVersioning",
    "LifecycleConfiguration",
    "BucketPolicy",
)


def test_only_the_operator_changes_settings_and_nobody_deletes_for_good() -> None:
    for role, bucket in product(ROLES, BUCKETS.values()):
        for setting, verb in product(OF_SETTINGS, ("Get", "Put")):
            allowed = reads_as_allowed(role, f"s3:{verb}{setting}", f"arn:aws:s3:::{bucket}")
            assert allowed is (role == "operator")
        for action in ("DeleteBucket", "DeleteBucketPolicy", "DeleteObjectVersion", "PutBucketAcl"):
            for resource in (bucket, f"{bucket}/folder/object"):
                assert not reads_as_allowed(role, f"s3:{action}", f"arn:aws:s3:::{resource}")


def reads_as_allowed(role: str, action: str, resource: str) -> bool:
    """Return what AWS would answer, as long as a policy has neither denials nor conditions."""
    return any(
        action in as_list(statement["Action"])
        and any(fnmatchcase(resource, one) for one in as_list(statement["Resource"]))
        for statement in json.loads(render_policy(role, BUCKETS))["Statement"]
    )


def as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def test_every_policy_is_of_a_role_that_is_rendered() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(ROLES)
