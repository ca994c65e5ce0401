"""`make aws-buckets`: make the buckets on AWS, or show what would be made.

Exit code 0: everything is as it must be (or was made so). 1: with --dry-run, something would be
changed. 2: it was refused; the one line on standard error says why.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cracks.errors import CracksError
from cracks.system.console import print_table
from infra.aws.bootstrap import Bootstrap, Difference, only_kept
from infra.aws.names import PURPOSES, Wanted, wanted_of
from infra.aws.rendering import write_policies

DAYS = ("noncurrent_days", "answers_days", "upload_days")


def main() -> int:
    """Do what the arguments say; return the exit code."""
    arguments = _arguments()
    try:
        wanted = wanted_of(_given(arguments), arguments.prefix)
        bootstrap = Bootstrap(wanted, arguments.endpoint_url)
        differences = bootstrap.plan() if arguments.dry_run else bootstrap.act()
        if arguments.policies:
            write_policies(arguments.policies, wanted.buckets)
    except (CracksError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _tell(differences, wanted, dry_run=arguments.dry_run)
    return 1 if arguments.dry_run and not only_kept(differences) else 0


def _tell(differences: list[Difference], wanted: Wanted, *, dry_run: bool) -> None:
    title = "What would be changed" if dry_run else "What was changed"
    print_table([asdict(one) for one in differences], title, standard_output=True)
    if only_kept(differences):
        count, region = len(wanted.buckets), wanted.region
        print(f"Nothing to do: {count} buckets in {region} are as they must be.")


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    names = (*PURPOSES, "region", *DAYS)
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make aws-buckets", description="Make the buckets on AWS, with their protection."
    )
    parser.add_argument(
        "--prefix", default=_variable("PREFIX"), help="buckets are called PREFIX-mlflow and so on"
    )
    for purpose in PURPOSES:
        variable = _variable(f"{purpose.upper()}_BUCKET")
        parser.add_argument(f"--{purpose}", default=variable, help="its name, if another one")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    parser.add_argument("--region", default=region, help="by default that of AWS_REGION")
    for days in DAYS:
        parser.add_argument(f"--{days.replace('_', '-')}", default=_variable(days.upper()))
    parser.add_argument("--dry-run", action="store_true", help="show what would be changed")
    parser.add_argument("--policies", type=Path, metavar="DIR", help="write the policies there")
    parser.add_argument("--endpoint-url", help="of storage that is not AWS")
    return parser.parse_args()


def _variable(name: str) -> str | None:
    return os.environ.get(f"CRACKS_AWS_{name}") or None


if __name__ == "__main__":
    sys.exit(main())
