"""Make the buckets and their settings as they must be: plan first, then act, then check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from cracks.errors import one_line
from cracks.storage.client import status_of
from infra.aws.names import AwsRefused, Wanted
from infra.aws.settings import SETTINGS, Found, Setting

#: What AWS says of credentials that it does not know, or not any more.
UNKNOWN_CREDENTIALS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "AuthFailure",
)


@dataclass(frozen=True)
class Difference:
    """What is not as it must be, or what others have added, which is kept."""

    bucket: str
    setting: str
    now: str
    wanted: str
    action: Literal["create", "set", "keep"]


@dataclass(frozen=True)
class _Step:
    """A difference, and the setting and value that fix it; neither where nothing is to be set."""

    difference: Difference
    setting: Setting | None = None
    value: Found = None


class Bootstrap:
    """The buckets of one account and region.

    All methods raise AwsRefused, which says in one line what to do.
    """

    def __init__(self, wanted: Wanted, endpoint_url: str | None = None) -> None:
        import boto3
        from botocore.config import Config

        self._wanted = wanted
        with _explained(wanted):
            self._client = boto3.Session().client(
                "s3",
                region_name=wanted.region,
                endpoint_url=endpoint_url,
                config=Config(retries={"mode": "standard"}, connect_timeout=10, read_timeout=30),
            )

    def plan(self) -> list[Difference]:
        """Return what differs, and change nothing."""
        return [step.difference for step in self._steps()]

    def act(self) -> list[Difference]:
        """Fix what differs, and return it.

        Raises:
            AwsRefused: also where a setting was taken, but is not there afterwards.
        """
        self.plan()  # what is refused of the last bucket is refused before the first is made
        done: list[Difference] = []
        for purpose, bucket in self._wanted.buckets.items():
            if self._is_free(bucket):
                done.append(_missing(bucket))
                self._create(bucket)
            for step in self._settings(purpose, bucket, exists=True):
                if step.setting:
                    with _explained(self._wanted, bucket):
                        step.setting.write(self._client, bucket, step.value)
                done.append(step.difference)
        self._require_done()
        return done

    def _require_done(self) -> None:
        left = [one for one in self.plan() if one.action != "keep"]
        if left:
            raise AwsRefused(
                f"{left[0].bucket}: {left[0].setting} was set, and still is: {left[0].now}. "
                "This storage does not know the setting, or somebody changes it meanwhile."
            )

    def _steps(self) -> Iterator[_Step]:
        for purpose, bucket in self._wanted.buckets.items():
            exists = not self._is_free(bucket)
            if not exists:
                yield _Step(_missing(bucket))
            yield from self._settings(purpose, bucket, exists=exists)

    def _settings(self, purpose: str, bucket: str, *, exists: bool) -> Iterator[_Step]:
        for setting in SETTINGS:
            found = self._read(setting, bucket) if exists else None
            for other in setting.of_others(found):
                yield _Step(Difference(bucket, setting.name, other, "(not ours)", "keep"))
            value = setting.must_be(found, purpose, self._wanted)
            if value != found:
                now, then = setting.say(found) if exists else "", setting.say(value)
                yield _Step(Difference(bucket, setting.name, now, then, "set"), setting, value)

    def _read(self, setting: Setting, bucket: str) -> Found:
        from botocore.exceptions import ClientError

        with _explained(self._wanted, bucket):
            try:
                return setting.read(self._client, bucket)
            except ClientError as error:
                if _code(error) != setting.absent:
                    raise
        return None

    @cached_property
    def _own(self) -> set[str]:
        """The names of the buckets of this account."""
        return {one["Name"] for one in self._client.list_buckets()["Buckets"]}

    def _is_free(self, bucket: str) -> bool:
        """Return whether nobody has a bucket of this name.

        Raises:
            AwsRefused: another account has it, or it is in another region.
        """
        with _explained(self._wanted, bucket):
            if bucket not in self._own:
                return self._is_unknown(bucket)
            region = self._region_of(bucket)
        if region != self._wanted.region:
            raise AwsRefused(
                f"{bucket} is in {region}, not in {self._wanted.region}. Give REGION={region}, "
                "or another name; a bucket cannot be moved."
            )
        return False

    def _is_unknown(self, bucket: str) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._client.get_bucket_location(Bucket=bucket)
        except ClientError as error:
            if _code(error) == "NoSuchBucket":
                return True
            if status_of(error) != 403 or _code(error) in UNKNOWN_CREDENTIALS:
                raise
        raise _taken(bucket)

    def _region_of(self, bucket: str) -> str:
        place = self._client.get_bucket_location(Bucket=bucket).get("LocationConstraint")
        # The first region has no name here, and the second one its first one.
        return {None: "us-east-1", "": "us-east-1", "EU": "eu-west-1"}.get(place, str(place))

    def _create(self, bucket: str) -> None:
        region = self._wanted.region
        place = {} if region == "us-east-1" else {"LocationConstraint": region}
        options = {"CreateBucketConfiguration": place} if place else {}
        with _explained(self._wanted, bucket):
            self._client.create_bucket(Bucket=bucket, **options)
        self._own.add(bucket)


def _missing(bucket: str) -> Difference:
    return Difference(bucket, "bucket", "missing", "exists", "create")


def only_kept(differences: Sequence[Difference]) -> bool:
    """Return whether nothing is to be done about any of them."""
    return all(one.action == "keep" for one in differences)


# --- refusals -------------------------------------------------------------------------------------


@contextmanager
def _explained(wanted: Wanted, bucket: str = "") -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _refusal(error, wanted, bucket) from None
    except (BotoCoreError, ValueError) as error:
        raise _failure(error) from None


def _refusal(error: Any, wanted: Wanted, bucket: str) -> AwsRefused:
    code = _code(error)
    reason = one_line(error.response.get("Error", {}).get("Message") or "no reason given")
    if code in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
        return _taken(bucket)
    if code in UNKNOWN_CREDENTIALS:
        return AwsRefused(
            f"AWS does not take these credentials ({code}). Sign in again, or set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        )
    if status_of(error) == 403:
        return AwsRefused(
            f"{bucket or 'AWS'}: these credentials may not do {error.operation_name}. "
            "Use those of an operator (infra/aws/policies/operator.json)."
        )
    if code in ("IllegalLocationConstraintException", "AuthorizationHeaderMalformed"):
        return AwsRefused(
            f"{bucket}: the endpoint is not that of {wanted.region} ({reason}). Give REGION and "
            "AWS_ENDPOINT_URL that belong together."
        )
    return AwsRefused(f"{bucket or 'AWS'}: {error.operation_name} was refused ({code}: {reason}).")


def _failure(error: Exception) -> AwsRefused:
    from botocore import exceptions

    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return AwsRefused(
            "There are no credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE."
        )
    if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError):
        return AwsRefused(
            f"AWS cannot be reached ({one_line(error)}). Check the network and AWS_ENDPOINT_URL, "
            "then run it again: it resumes where it stopped."
        )
    return AwsRefused(f"boto3 refuses it ({one_line(error)}). Check the AWS_* settings.")


def _taken(bucket: str) -> AwsRefused:
    return AwsRefused(
        f"{bucket} belongs to another account: names of buckets are shared by everybody. "
        "Choose another PREFIX."
    )


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
