"""`make backup`, `make restore`: save, restore or check a back-up; the exit code is 0, or 1."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from cracks.errors import CracksError
from cracks.system.console import print_table, show_log
from cracks.workspace.paths import Paths
from infra.backup.archive import Archive
from infra.backup.manifest import BackupRefused, Manifest
from infra.backup.restoring import Restoring, check
from infra.backup.saving import Saving
from infra.backup.state import place_at, state_of, variables_of_stack

CHECKOUT = Path(__file__).resolve().parents[2]

#: Where back-ups are kept, if that is other storage than what is backed up.
ENDPOINT = "CRACKS_BACKUP_ENDPOINT_URL"


def main() -> int:
    """Do what the arguments say; return 0 when it is done."""
    arguments = _arguments()
    show_log()
    try:
        _run(arguments)
    except (CracksError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; run it again, it resumes where it stopped.", file=sys.stderr)
        return 1
    return 0


def _run(arguments: argparse.Namespace) -> None:
    if not arguments.place:
        raise BackupRefused("Name the place: make backup TO=…, make restore FROM=….")
    archive = Archive(place_at(arguments.place, os.environ.get(ENDPOINT)))
    if arguments.what == "check":
        manifest = archive.read(arguments.name)
        check(manifest, archive)
        print(f"The back-up {manifest.name} is whole.")
        return
    os.environ.update(variables_of_stack(arguments.workspace, os.environ))
    state = state_of(Paths(arguments.workspace.resolve()), os.environ)
    if arguments.what == "save":
        manifest = Saving(state, archive).save()
        _show(manifest, f"Back-up {manifest.name}")
        print(f"{archive.new / 1e6:,.1f} MB of it are new in {archive.place.origin}.")
    else:
        manifest = archive.read(arguments.name)
        Restoring(manifest, archive, state).restore()
        _show(manifest, f"Restored from {manifest.name}")
        print("Start the servers, then `cracks models --verify` compares ledger and service.")


def _show(manifest: Manifest, title: str) -> None:
    rows = [
        {
            "part": one.name,
            "kind": one.kind,
            "files": len(one.files),
            "MB": f"{one.size / 1e6:,.1f}",
            "of": one.origin,
        }
        for one in manifest.parts
    ]
    print_table(rows, title, standard_output=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Back up and restore the whole state.")
    parser.add_argument("what", choices=["save", "restore", "check"])
    parser.add_argument("place", help="a folder, or s3://BUCKET/PREFIX")
    parser.add_argument("--name", help="of a back-up; by default the last one")
    parser.add_argument("--workspace", type=Path, default=CHECKOUT, help="by default the checkout")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
