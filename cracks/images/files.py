"""Find image files: single files, folders, and prefixes in S3."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from cracks.errors import StorageError, UnreadableImage
from cracks.storage.addresses import SCHEME, Address, is_in_bucket, parse_address
from cracks.storage.client import list_objects
from cracks.storage.object_store import BucketStore

#: Endings of files in a folder that are taken for images; whether they are, decoding tells.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")

#: Objects that are fetched at a time, and that are prefetched at most.
THREADS, PREFETCHED = 16, 32


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file that is named but not read yet."""

    name: str  # as it was given, or s3://bucket/key
    stamp: str  # another one whenever the content may be another
    read: Callable[[], bytes]  # raises UnreadableImage
    remote: bool = False


def image_file(name: str, stamp: str) -> ImageFile:
    """Return the file that `find_images` has named so, in another process.

    Raises:
        StorageError: the address of the storage is none.
    """
    if not is_in_bucket(name):
        return ImageFile(name, stamp, partial(_bytes_of, name))
    bucket, _, key = name.removeprefix(SCHEME).partition("/")
    return ImageFile(name, stamp, lambda: _bucket(bucket).read(key), remote=True)


@cache
def _bucket(name: str) -> BucketStore:
    """Return the objects of a whole bucket; once a process, with one client for all threads."""
    return BucketStore(Address(name, ""))


def find_images(places: Sequence[str], without: Path | None = None) -> list[ImageFile]:
    """Return the images that are named: files, those in folders and below prefixes, each once.

    Args:
        places: files, folders, and addresses `s3://bucket/prefix`. Of folders and prefixes only
            what has an ending of `SUFFIXES` counts, and nothing whose name begins with a dot.
        without: a folder that is not searched: where pictures of the images are written.

    Raises:
        StorageError: a place does not exist, cannot be listed, or holds no image.
        StorageUnavailable: the storage does not respond.
    """
    found: dict[str, ImageFile] = {}
    for place in places:
        images = list(_stored(place) if is_in_bucket(place) else _local(Path(place), without))
        if not images:
            raise StorageError(
                f"{place} holds no image. Files that end in {', '.join(SUFFIXES)} are looked for."
            )
        found |= {image.name: image for image in images}
    return list(found.values())


def prefetched(files: Iterable[ImageFile]) -> Iterator[ImageFile]:
    """Yield the files in order, those in S3 while they and the next ones are being fetched."""
    # Imported here, as it takes longer than all the rest of this module.
    from multiprocessing.pool import ThreadPool

    pool: ThreadPool | None = None
    waiting: deque[ImageFile] = deque()
    finished = False
    try:
        for file in files:
            if file.remote:
                # Its threads are daemons: those of an executor would hold up Ctrl-C.
                pool = pool or ThreadPool(THREADS)
                file = replace(file, read=pool.apply_async(file.read).get)
            waiting.append(file)
            if not file.remote or len(waiting) == PREFETCHED:
                yield waiting.popleft()
        yield from waiting
        finished = True
    finally:
        # The last files may still be unread when the iterator is exhausted.
        if pool and finished:
            pool.close()
        elif pool:
            pool.terminate()


def _local(place: Path, without: Path | None) -> Iterator[ImageFile]:
    if place.is_dir():
        for folder, folders, names in os.walk(place, onerror=_refuse):
            visible = (name for name in folders if _is_visible(name))
            folders[:] = sorted(
                name for name in visible if not _is_same(Path(folder, name), without)
            )
            images = sorted(name for name in names if _is_image(name))
            yield from (_file(os.path.join(folder, name)) for name in images)  # noqa: PTH118
    elif place.exists():
        yield _file(str(place))
    else:
        raise StorageError(f"There is no file or folder {place}. Check the path.")


def _refuse(error: OSError) -> None:
    raise StorageError(f"{error.filename} cannot be listed: {error.strerror}.")


def _file(path: str) -> ImageFile:
    # Text and not `Path`, which takes twice as long for each of very many files.
    try:
        facts = os.stat(path)  # noqa: PTH116
        stamp = f"{facts.st_size}-{facts.st_mtime_ns}"
    except OSError:
        stamp = "gone"  # a broken link; reading it raises
    return ImageFile(path, stamp, partial(_bytes_of, path))


def _bytes_of(path: str) -> bytes:
    return Path(path).read_bytes()


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and _is_visible(name)


def _stored(place: str) -> Iterator[ImageFile]:
    address = parse_address(place)
    for stored in list_objects(address):
        *folders, name = stored.key.split("/")
        if _is_image(name) and all(map(_is_visible, folders)):
            stamp = f"{stored.size}-{stored.etag}"
            yield image_file(f"{SCHEME}{address.bucket}/{stored.full_key}", stamp)


def _is_same(folder: Path, other: Path | None) -> bool:
    return other is not None and other.is_dir() and folder.samefile(other)


def _is_visible(name: str) -> bool:
    return not name.startswith(".")


def content_of(file: ImageFile) -> bytes:
    """Return the bytes of a file.

    Raises:
        UnreadableImage: it cannot be read; the message is the reason.
        StorageUnavailable: the storage does not respond.
    """
    try:
        return file.read()
    except OSError as error:
        raise UnreadableImage(f"cannot be read: {error.strerror}") from None
