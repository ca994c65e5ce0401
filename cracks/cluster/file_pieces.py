"""Work on image files on the cluster: cut into pieces, and taken in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from cracks.cluster.pieces import Piece, Work
from cracks.cluster.result_store import send_files
from cracks.cluster.worker import fetched_folder, once
from cracks.images.files import ImageFile
from cracks.inference.bundle.bundle import Bundle, open_bundle
from cracks.inference.bundle.classifier import Classifier
from cracks.storage.object_store import ObjectStore
from cracks.system.hashing import digest_of_value

#: Names and stamps of files, as they are sent to a worker.
Named = tuple[tuple[str, str], ...]


def loaded_classifier(store: ObjectStore, bundle: str, threads: int) -> Classifier:
    """Return the classifier of a bundle in the store, loaded once a process."""
    return once(
        ("classifier", bundle),
        lambda: Classifier(open_bundle(fetched_folder(store, bundle)), threads),
    )


def send_bundle(store: ObjectStore, bundle: Bundle) -> str:
    """Send a bundle unless it is there; return the key of its folder."""
    return send_files(store, sorted(file for file in bundle.folder.iterdir() if file.is_file()))


def sample_of(files: Sequence[ImageFile]) -> str | None:
    """Return the name of a file that is there, by which workers can be tried."""
    return next((file.name for file in files if file.stamp != "gone"), None)


def pieces_of(
    files: Sequence[ImageFile],
    missing: Sequence[ImageFile],
    most: int,
    work_on: Callable[[Named], Work],
    key_of: Callable[[str], str],
) -> Iterator[Piece]:
    """Cut the missing files into pieces at the same places as all the files.

    So the next run finds the results that a stopped one has left in the store.

    Args:
        files: all of them, in their order.
        missing: those whose results are wanted, in the same order.
        most: files of a piece.
        work_on: makes the work of some files.
        key_of: makes the key of a result from a digest of the files.
    """
    wanted = {file.name for file in missing}
    number = 0
    for start in range(0, len(files), most):
        part = [file for file in files[start : start + most] if file.name in wanted]
        if part:
            named = tuple((file.name, file.stamp) for file in part)
            key = key_of(digest_of_value(named)[:32])
            yield Piece(number, name_of(part), key, len(part), work_on(named))
            number += 1


def name_of(files: Sequence[ImageFile]) -> str:
    """Return what to call a piece: its first and its last file."""
    first, last = files[0].name, files[-1].name
    return first if first == last else f"{first} … {last}"
