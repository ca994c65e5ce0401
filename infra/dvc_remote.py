"""`make dvc-remote`: let DVC keep its files in S3-compatible storage, for this clone.

It creates the bucket if it is missing and writes the remote to `.dvc/config.local`, which git
ignores. Credentials stay in the environment (`AWS_*`) and are written nowhere.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from cracks.errors import CracksError
from cracks.storage.addresses import parse_address
from cracks.storage.client import ensure_bucket

NAME = "s3"


def main() -> int:
    """Make the address the default remote; return 0 when it is."""
    arguments = _arguments()
    try:
        address = parse_address(arguments.address)
        created = ensure_bucket(address.bucket, arguments.endpoint_url)
        _write_remote(str(address).rstrip("/"), arguments.endpoint_url)
    except CracksError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return error.returncode  # dvc has said why
    if created:
        print(f"The bucket {address.bucket} was missing and has been created.")
    print(f"DVC of this clone keeps its files in {address}. With the AWS_* variables set as now:")
    print("  .venv/bin/dvc push      # send what dvc.lock names and this clone has")
    print("  .venv/bin/dvc pull      # bring what dvc.lock names")
    print(f"  .venv/bin/dvc remote remove --local {NAME}      # back to the folder .dvc/storage")
    return 0


def _write_remote(url: str, endpoint_url: str | None) -> None:
    """Write the remote for this clone only; what an earlier call wrote is forgotten."""
    _dvc("add", "--local", "--force", "--default", NAME, url)
    if endpoint_url:
        _dvc("modify", "--local", NAME, "endpointurl", endpoint_url)


def _dvc(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "remote", "--quiet", *arguments], check=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Let DVC keep its files in S3.")
    parser.add_argument("address", help="s3://BUCKET/PREFIX")
    parser.add_argument("--endpoint-url", help="of storage that is not AWS, kept for DVC")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
