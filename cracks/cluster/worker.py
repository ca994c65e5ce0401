"""What runs on a worker: a comparison with the calling process, then the pieces."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from distributed import get_worker

from cracks.cluster.pieces import Work
from cracks.cluster.result_store import fetch_folder, is_done, write_result
from cracks.cluster.versions import Versions, differences, own_versions
from cracks.errors import ClusterError, CracksError, one_line
from cracks.images.files import content_of, image_file
from cracks.storage.object_store import ObjectStore, open_store
from cracks.system.environment import apply_environment_defaults
from cracks.system.parallel import in_one_thread

Loaded = TypeVar("Loaded")

_lock = threading.RLock()
#: What this process has loaded: networks, and that it was compared.
_loaded: dict[tuple[str, ...], object] = {}


class Unfit(CracksError):
    """A worker cannot take part; the message says why, without saying which worker."""

    def __init__(self, reason: str, worker: str = "") -> None:
        super().__init__(reason, worker)  # the arguments that are pickled

    def __str__(self) -> str:
        return str(self.args[0])

    @property
    def worker(self) -> str:
        """The address of the worker, if it joined during the work."""
        return str(self.args[1])


def run_piece(work: Work, store: str, key: str, versions: Versions) -> None:
    """Write the result of a piece, unless it is there.

    Raises:
        Unfit: this worker has other versions, or no access to the store.
    """
    worker = get_worker()
    try:
        once(("fit", store), lambda: require_fit(store, versions))
    except Unfit as error:
        raise Unfit(str(error), str(worker.address)) from None
    place = _opened(store)
    # A killed worker may have written it without reporting it.
    if not is_done(place, key):
        with in_one_thread():
            content = work.run(place, worker.state.nthreads)
        write_result(place, key, content)


def require_fit(store: str, versions: Versions, sample: str | None = None) -> None:
    """Compare this process with the calling one, and try to read and write the store.

    Args:
        store: that it must read and write.
        versions: of the calling process.
        sample: an image that it must see, or None.

    Raises:
        Unfit: it would compute something else, or cannot read or write.
    """
    apply_environment_defaults()
    if different := differences(own_versions(), versions):
        raise Unfit(f"it has {', '.join(different)}. Deploy the image of this commit there")
    try:
        _try_store(_opened(store))
        if sample:
            content_of(image_file(sample, ""))
    except (CracksError, OSError) as error:
        raise Unfit(one_line(error).rstrip(".")) from None
    _keep_to_its_threads()


def once(name: tuple[str, ...], load: Callable[[], Loaded]) -> Loaded:
    """Return what `load` gives, called once a process."""
    with _lock:
        if name not in _loaded:
            _loaded[name] = load()
        return _loaded[name]  # type: ignore[return-value]


def fetched_folder(store: ObjectStore, key: str) -> Path:
    """Return a folder of the store on this worker's disk; fetched once a process."""

    def fetch() -> Path:
        # Dask removes its folder with the worker, also the one of a worker that was killed.
        folder = Path(get_worker().local_directory) / key.rpartition("/")[2]
        fetch_folder(store, key, folder)
        return folder

    return once(("folder", key), fetch)


def _opened(store: str) -> ObjectStore:
    return once(("store", store), lambda: open_store(store))


def _try_store(store: ObjectStore) -> None:
    key = f"checks/{uuid.uuid4().hex}"
    store.write(key, b"")
    if store.read(key) != b"":
        raise ClusterError("the store gives back something else than was written")
    store.remove(key)


def _keep_to_its_threads() -> None:
    import cv2
    import pyarrow as pa

    from cracks.inference.runtime.openvino_runtime import keep_blas_to_one_thread

    cv2.setNumThreads(1)
    pa.set_cpu_count(1)
    keep_blas_to_one_thread()
