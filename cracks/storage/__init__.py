"""Objects in S3-compatible storage (boto3): list a prefix, keep a local mirror of it.

Endpoint, region and credentials are boto3's own settings: `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`,
`AWS_PROFILE` and so on. With an endpoint of one's own, boto3 puts the bucket into the path.
"""

from __future__ import annotations

from cracks.storage.addresses import Address, StoredObject, digest_of_listing, parse_address
from cracks.storage.client import ensure_bucket, list_objects, require_bucket
from cracks.storage.mirrors import Mirror, mirror

__all__ = [
    "Address",
    "Mirror",
    "StoredObject",
    "digest_of_listing",
    "ensure_bucket",
    "list_objects",
    "mirror",
    "parse_address",
    "require_bucket",
]
