"""Names of buckets, region and retention, refused before any request to AWS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from cracks.errors import CracksError

#: What a bucket is for; with a prefix, also the end of its name.
PURPOSES = ("mlflow", "dvc", "answers", "backups")


class AwsRefused(CracksError):
    """The buckets cannot be made so; the message says why and what to do."""


def _is_name(name: str) -> str:
    """Return a name that every bucket may have, or say what is wrong.

    The rules are those of AWS for general purpose buckets (Amazon S3 user guide, "Bucket naming
    rules"), without dots, with which the certificate of an address does not fit.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", name):
        raise ValueError(f"{name!r} is no name of a bucket: 3 to 63 of a-z, 0-9 and `-`")
    if name.startswith(("xn--", "sthree-", "amzn-s3-demo-")) or name.endswith(
        ("-s3alias", "--ol-s3", "--x-s3", "--table-s3", "-an")
    ):
        raise ValueError(f"{name!r} begins or ends as only AWS itself may name buckets")
    return name


BucketName = Annotated[str, AfterValidator(_is_name)]
Days = Annotated[int, Field(ge=1, le=3650)]


class Wanted(BaseModel):
    """Which buckets there must be, where, and how long they keep what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mlflow: BucketName
    dvc: BucketName
    answers: BucketName
    backups: BucketName
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[1-9]$")]
    #: What was replaced or deleted is kept so long.
    noncurrent_days: Days = 90
    #: Served predictions are kept so long; models, data and back-ups are never deleted by age.
    answers_days: Days = 365
    #: Uploads in parts that were never finished are given up after so long.
    upload_days: Days = 7

    @model_validator(mode="after")
    def _are_different(self) -> Self:
        if len(set(self.buckets.values())) < len(PURPOSES):
            raise ValueError("each purpose needs a bucket of its own")
        return self

    @property
    def buckets(self) -> dict[str, str]:
        """The name of the bucket of each purpose."""
        return {purpose: getattr(self, purpose) for purpose in PURPOSES}


def wanted_of(given: Mapping[str, Any], prefix: str | None) -> Wanted:
    """Return what is wanted, with `PREFIX-PURPOSE` as the name of each bucket that has none.

    Raises:
        AwsRefused: something is missing or out of range; the message names it.
    """
    named = {f"{purpose}": f"{prefix}-{purpose}" for purpose in PURPOSES} if prefix else {}
    try:
        return Wanted.model_validate(named | dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        place, reason = ".".join(map(str, first["loc"])), first["msg"]
        if first["type"] == "missing" and place != "region":
            reason = "no bucket is named; give PREFIX"
        elif place == "region":
            reason = "give a region as AWS calls it, such as eu-central-1"
        said = reason.removeprefix("Value error, ")
        raise AwsRefused(f"{place}: {said}." if place else f"{said}.") from None
