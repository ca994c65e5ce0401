"""The buckets on AWS, made against a real S3 API: protected, mended, and nothing of others lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest
from aws_server import REGION, AwsServer, Credentials
from processes import CHECKOUT, StartProcess, environment, free_port

from infra.aws.__main__ import main
from infra.aws.names import AwsRefused, wanted_of
from infra.aws.rendering import render_policy
from infra.aws.settings import Lifecycle, TlsOnly

NAMES = ["team-mlflow", "team-dvc", "team-answers", "team-backups"]
RULE_OF_OTHERS = {
    "ID": "cheaper",
    "Status": "Enabled",
    "Filter": {"Prefix": "old/"},
    "Expiration": {"Days": 30},
}


@pytest.fixture(scope="module")
def server(start_for_module: StartProcess) -> AwsServer:
    return AwsServer.start(start_for_module)


@dataclass
class Place:
    """A server without buckets, and the command that makes them."""

    server: AwsServer
    patch: pytest.MonkeyPatch
    captured: pytest.CaptureFixture[str]

    @cached_property
    def s3(self) -> Any:
        return self.server.client("s3")

    def make(self, *arguments: str) -> tuple[int, str, str]:
        """Return exit code, standard output and standard error of `make aws-buckets`."""
        self.captured.readouterr()
        self.patch.setattr(sys, "argv", ["aws", "--prefix", "team", *arguments])
        code = main()
        told = self.captured.readouterr()
        return code, told.out, told.err

    def state(self, bucket: str) -> dict[str, Any]:
        s3, of = self.s3, {"Bucket": bucket}
        encryption = s3.get_bucket_encryption(**of)["ServerSideEncryptionConfiguration"]
        return {
            "versioning": s3.get_bucket_versioning(**of)["Status"],
            "encryption": encryption["Rules"][0]["ApplyServerSideEncryptionByDefault"],
            "public": set(s3.get_public_access_block(**of)[BLOCK].values()),
            "policy": json.loads(s3.get_bucket_policy(**of)["Policy"])["Statement"],
            "rules": {
                rule["ID"]: rule for rule in s3.get_bucket_lifecycle_configuration(**of)["Rules"]
            },
            "region": s3.get_bucket_location(**of)["LocationConstraint"],
        }


BLOCK = "PublicAccessBlockConfiguration"


@pytest.fixture
def place(
    server: AwsServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    for name, value in server.variables().items():
        monkeypatch.setenv(name, value)
    yield Place(server, monkeypatch, capsys)
    server.forget()


def test_a_dry_run_says_everything_and_makes_nothing(place: Place) -> None:
    code, said, _ = place.make("--dry-run")
    assert code == 1
    assert "What would be changed" in said
    assert all(name in said for name in NAMES)
    assert place.s3.list_buckets()["Buckets"] == []


def test_the_buckets_are_protected_and_a_second_run_has_nothing_to_do(
    place: Place,
) -> None:
    assert place.make("--noncurrent-days", "40", "--answers-days", "500")[0] == 0
    assert {one["Name"] for one in place.s3.list_buckets()["Buckets"]} == set(NAMES)
    for name in NAMES:
        state = place.state(name)
        assert state["versioning"] == "Enabled"
        assert state["encryption"] == {"SSEAlgorithm": "AES256"}
        assert state["public"] == {True}
        assert state["region"] == REGION
        (statement,) = state["policy"]
        assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert statement["Resource"] == [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]
        rules = state["rules"]
        assert rules["cracks-noncurrent"]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 40
        assert rules["cracks-uploads"]["AbortIncompleteMultipartUpload"]
        expires = {key for key, rule in rules.items() if "Days" in rule.get("Expiration", {})}
        assert expires == ({"cracks-answers"} if name == "team-answers" else set())
    same = ("--noncurrent-days", "40", "--answers-days", "500")
    for arguments in (same, (*same, "--dry-run")):
        code, said, _ = place.make(*arguments)
        assert (code, said) == (0, f"Nothing to do: 4 buckets in {REGION} are as they must be.\n")


def test_what_somebody_changed_is_shown_and_mended(place: Place) -> None:
    s3, name = place.s3, "team-dvc"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket=name, Key="precious", Body=b"data")
    place.make()
    before = place.state(name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
    opened = {"BlockPublicAcls": False, "IgnorePublicAcls": True}
    opened |= {"BlockPublicPolicy": False, "RestrictPublicBuckets": True}
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=opened)
    s3.delete_bucket_policy(Bucket=name)
    s3.delete_bucket_lifecycle(Bucket=name)
    code, said, _ = place.make("--dry-run")
    assert code == 1
    for drift in ("Suspended", "without BlockPublicAcls", "takes requests without TLS", "no rule"):
        assert drift in said
    assert "team-mlflow" not in said
    assert place.make()[0] == 0
    assert place.state(name) == before
    # Without TLS nobody reads it any more; with it moto, which knows no conditions, would not too.
    with pytest.raises(s3.exceptions.ClientError, match="403"):
        s3.get_object(Bucket=name, Key="precious")
    s3.delete_bucket_policy(Bucket=name)
    assert s3.get_object(Bucket=name, Key="precious")["Body"].read() == b"data"


def test_retention_that_is_changed_is_one_line(place: Place) -> None:
    place.make()
    code, said, _ = place.make("--answers-days", "30", "--dry-run")
    assert code == 1
    assert said.count("team-") == 1
    assert place.make("--answers-days", "30")[0] == 0
    assert place.state("team-answers")["rules"]["cracks-answers"]["Expiration"]["Days"] == 30


def test_what_others_have_added_is_kept_and_told(place: Place) -> None:
    s3, name = place.s3, "team-mlflow"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    rules = {"Rules": [RULE_OF_OTHERS]}
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration=rules)
    theirs = {"Sid": "Auditor", "Effect": "Allow", "Action": "s3:GetObject"}
    theirs |= {"Principal": {"AWS": "arn:aws:iam::123456789012:root"}}
    theirs |= {"Resource": f"arn:aws:s3:::{name}/*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": theirs})
    s3.put_bucket_policy(Bucket=name, Policy=document)
    kms = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "alias/own"}
    encryption = {"Rules": [{"ApplyServerSideEncryptionByDefault": kms}]}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration=encryption)
    assert place.make()[0] == 0
    state = place.state(name)
    assert state["rules"]["cheaper"].items() >= RULE_OF_OTHERS.items()
    assert set(state["rules"]) == {"cheaper", "cracks-noncurrent", "cracks-uploads"}
    assert state["policy"][0] == theirs
    assert len(state["policy"]) == 2
    assert state["encryption"] == kms
    code, said, _ = place.make("--dry-run")
    assert code == 0, "what others have added is no difference"
    assert "cheaper: objects expire after 30 days" in said
    assert "Auditor: Allow" in said


def test_the_name_of_somebody_else_is_refused_before_anything_is_made(
    place: Place,
) -> None:
    somebody = place.server.client("s3", place.server.other_account())
    placed = {"LocationConstraint": REGION}
    somebody.create_bucket(Bucket="team-backups", CreateBucketConfiguration=placed)
    for arguments in (["--dry-run"], []):
        code, _, said = place.make(*arguments)
        assert code == 2
        assert said.startswith("error: team-backups belongs to another account")
        assert len(said.splitlines()) == 1
    assert place.s3.list_buckets()["Buckets"] == []


def test_a_bucket_in_another_region_is_refused(place: Place) -> None:
    assert place.make()[0] == 0
    code, _, said = place.make("--region", "eu-west-3")
    assert code == 2
    assert "team-mlflow is in eu-central-1, not in eu-west-3. Give REGION=eu-central-1" in said


def test_without_credentials_or_without_an_answer_it_says_what_to_set(
    place: Place,
) -> None:
    for name in Credentials().variables:
        place.patch.delenv(name)
    assert place.make()[2].startswith("error: There are no credentials. Set AWS_ACCESS_KEY_ID")
    place.patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    for name, value in Credentials().variables.items():
        place.patch.setenv(name, value)
    place.patch.setenv("AWS_MAX_ATTEMPTS", "1")
    code, _, said = place.make()
    assert code == 2
    assert "AWS cannot be reached" in said
    assert len(said.splitlines()) == 1


def test_credentials_that_are_unknown_or_may_not_do_it_are_refused(place: Place) -> None:
    buckets = {name.removeprefix("team-"): name for name in NAMES}
    worker = place.server.user("worker", render_policy("worker", buckets))
    place.server.enforce()
    code, _, said = place.make()
    assert code == 2
    assert said.startswith("error: AWS does not take these credentials (InvalidAccessKeyId)")
    for name, value in worker.variables.items():
        place.patch.setenv(name, value)
    code, _, said = place.make()
    assert code == 2
    assert "these credentials may not do ListBuckets. Use those of an operator" in said


@pytest.mark.parametrize(
    ("given", "prefix", "reason"),
    [
        ({"region": REGION}, None, "mlflow: no bucket is named; give PREFIX"),
        ({}, "team", "region: give a region as AWS calls it"),
        ({"region": "Frankfurt"}, "team", "region: give a region as AWS calls it"),
        ({"region": REGION, "dvc": "Data"}, "team", "dvc: 'Data' is no name of a bucket"),
        ({"region": REGION, "dvc": "xn--data"}, "team", "dvc: 'xn--data' begins or ends as"),
        ({"region": REGION, "dvc": "team-answers"}, "team", "each purpose needs a bucket"),
        ({"region": REGION, "answers_days": "0"}, "team", "answers_days: Input should be greater"),
        ({"region": REGION}, "a" * 60, "is no name of a bucket"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(
    given: dict[str, Any], prefix: str | None, reason: str
) -> None:
    with pytest.raises(AwsRefused, match=reason):
        wanted_of(given, prefix)


def test_what_aws_writes_otherwise_is_no_difference() -> None:
    wanted = wanted_of({"region": REGION}, "team")
    rules = Lifecycle().must_be(None, "answers", wanted)
    rules = [{**rule, "Filter": {}} for rule in reversed(rules)]
    assert Lifecycle().must_be(rules, "answers", wanted) is rules
    policy = TlsOnly().must_be(None, "dvc", wanted)
    (statement,) = policy["Statement"]
    statement |= {"Action": ["s3:*"], "Resource": statement["Resource"][::-1]}
    policy["Statement"] = statement
    assert TlsOnly().must_be(policy, "dvc", wanted) is policy
    assert TlsOnly().say(policy) == "TLS only"
    statement["Effect"] = "Allow"
    assert TlsOnly().must_be(policy, "dvc", wanted) != policy


def test_make_runs_it_with_prefix_and_region(server: AwsServer) -> None:
    command = ["make", "--old-file=.venv/.ready", "aws-buckets", "PREFIX=crew", "DRY_RUN=1"]
    variables = environment(**server.variables())
    done = subprocess.run(command, cwd=CHECKOUT, env=variables, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr  # make's own, for any exit code that is not 0
    assert "crew-backups" in done.stdout
