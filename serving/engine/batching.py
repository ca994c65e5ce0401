"""Predict for patches in batches: what waits when the network is free goes through it together.

    a request ► its patches wait, one of each request in turn ► a worker takes some of them
              ► decodes ► network ► once all patches of a request have predictions, the event loop

Nothing waits for a batch to become full: alone, a patch is computed at once; under load the batches
grow by themselves. Patches wait as they were sent, so many of them need little memory.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

from cracks.errors import BundleError, UnreadableImage
from cracks.images.decode import MAX_PIXELS, Pixels, decode_to_size
from cracks.inference.bundle.classifier import BATCH_SIZE, Classifier, Measured, Prediction

if TYPE_CHECKING:
    from serving.telemetry.metrics import Metrics

#: What measures a batch, uint8 (n, size, size, 3).
Measure = Callable[[Pixels], Measured]

#: One of a job's patches, by its position there.
Patch: TypeAlias = "tuple[_Job, int]"
#: What becomes of it.
Outcome = Prediction | Exception

#: Weight of the latest batch in the measured pace.
NEWEST = 0.1


class Overloaded(Exception):
    """More patches wait than may; `retry_after` is when to ask again, in whole seconds."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        super().__init__(f"{waiting} images wait already. Try again in {retry_after} s.")
        self.retry_after = retry_after


class Engine:
    """Computes with one bundle for as long as it is in service."""

    def __init__(self, classifier: Classifier, metrics: Metrics, max_waiting: int = 256) -> None:
        """Send patches through every part of the network, and start the workers.

        Args:
            classifier: predicts, in the workers' threads.
            metrics: counts batches, and how many patches wait.
            max_waiting: patches that may wait; of a request that comes while none waits all may.

        Raises:
            BundleError: the network gives no numbers.
        """
        self._classifier, self._metrics, self._max_waiting = classifier, metrics, max_waiting
        self._changed = threading.Condition()  # guards all that follows, and the jobs
        self._jobs: deque[_Job] = deque()  # those with a patch that waits
        self._waiting, self._busy, self._closed = 0, 0, False
        self._pace = 0.0  # seconds a patch
        # One more than compute at a time: while it decodes and waits, no part of the network rests.
        requests = [classifier.open_request() for _ in range(classifier.parallel_batches + 1)]
        for measure in requests:
            self._warm(measure)
        self._workers = [
            threading.Thread(target=self._work, args=(measure,), name="engine", daemon=True)
            for measure in requests
        ]
        for worker in self._workers:
            worker.start()

    async def predict(
        self, contents: Sequence[bytes], names: Sequence[str], max_pixels: int = MAX_PIXELS
    ) -> list[Prediction]:
        """Return a prediction for each encoded image, the same as `Classifier.predict`.

        Args:
            contents: files of an image format that the service accepts.
            names: what to call each of them in a refusal.
            max_pixels: of one image; a larger one is refused undecoded.

        Raises:
            UnreadableImage: which is the first that does not decode, and why.
            Overloaded: too many wait already.
        """
        size = self._classifier.bundle.content.patch_size

        def decoded(position: int) -> Pixels:
            try:
                return decode_to_size(contents[position], size, max_pixels)
            except UnreadableImage as error:
                raise UnreadableImage(f"{names[position]}: {error}") from None

        return await self._predicted(_Job(decoded, len(contents)))

    async def predict_pixels(self, pixels: Pixels) -> list[Prediction]:
        """Return a prediction for each patch that is decoded already, uint8 (n, size, size, 3).

        Raises:
            Overloaded: too many wait already.
        """
        return await self._predicted(_Job(pixels.__getitem__, len(pixels)))

    @property
    def waiting(self) -> int:
        """How many patches wait."""
        return self._waiting

    def close(self) -> None:
        """End the workers, after the patches that wait still, and wait for that."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _warm(self, measure: Measure) -> None:
        """Compute a batch of each size: the first one makes OpenVINO prepare for it."""
        size = self._classifier.bundle.content.patch_size
        noise = np.random.default_rng(0).integers(0, 256, (BATCH_SIZE, size, size, 3), np.uint8)
        for patches in range(1, BATCH_SIZE + 1):
            if not np.isfinite(measure(noise[:patches]).scores).all():
                folder = self._classifier.bundle.folder
                raise BundleError(f"The network of {folder} is damaged: it gives no numbers.")

    async def _predicted(self, job: _Job) -> list[Prediction]:
        if not job.patches:
            return []
        self._admit(job)
        try:
            return await job.result
        except asyncio.CancelledError:  # the client is gone, or its time is over
            with self._changed:
                self._withdraw(job)
            raise

    def _admit(self, job: _Job) -> None:
        with self._changed:
            if self._waiting and self._waiting + job.patches > self._max_waiting:
                raise Overloaded(self._waiting, max(1, math.ceil(self._waiting * self._pace)))
            self._jobs.append(job)
            self._count(job.patches)
            self._changed.notify(job.patches)

    def _withdraw(self, job: _Job) -> None:
        if job.waiting:
            self._jobs.remove(job)
            self._count(-job.waiting)
            job.withdraw()

    def _count(self, change: int) -> None:
        self._waiting += change
        self._metrics.waiting(self._waiting)

    # --- in the workers' threads ------------------------------------------------------------------

    def _work(self, measure: Measure) -> None:
        while batch := self._take():
            begin = time.perf_counter()
            outcomes = self._outcomes(measure, batch)
            self._hand_out(batch, outcomes, time.perf_counter() - begin)

    def _take(self) -> list[Patch]:
        """Return the next patches, one of each job in turn; none once the engine is closed."""
        with self._changed:
            while not self._jobs:
                if self._closed:
                    return []
                self._changed.wait()
            # A few patches are spread over what is idle; batches pay when nothing is.
            idle = max(1, self._classifier.parallel_batches - self._busy)
            batch = []
            for _ in range(min(BATCH_SIZE, math.ceil(self._waiting / idle))):
                job = self._jobs.popleft()
                batch.append((job, job.take()))
                if job.waiting:
                    self._jobs.append(job)
            self._busy += 1
            self._count(-len(batch))
        return batch

    def _outcomes(self, measure: Measure, batch: Sequence[Patch]) -> list[Outcome]:
        """Return the prediction for each patch, or the error, which its request raises."""
        decoded = [_decoded(job, position) for job, position in batch]
        sound = [one for one in decoded if not isinstance(one, Exception)]
        try:
            predictions = iter(self._computed(measure, sound))
            return [one if isinstance(one, Exception) else next(predictions) for one in decoded]
        except Exception as error:
            return [error] * len(batch)

    def _computed(self, measure: Measure, batch: Sequence[Pixels]) -> list[Prediction]:
        if not batch:
            return []
        self._metrics.batch(len(batch))
        return self._classifier.predictions_from(measure(np.stack(batch)))

    def _hand_out(
        self, batch: Sequence[Patch], outcomes: Sequence[Outcome], seconds: float
    ) -> None:
        done = []
        with self._changed:
            pace = seconds / len(batch) / self._busy
            self._pace += (pace - self._pace) * (NEWEST if self._pace else 1)
            self._busy -= 1
            for (job, position), outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    self._withdraw(job)
                if job.gets(position, outcome):
                    done.append(job)
        for loop in {job.loop for job in done}:
            # One call, as each wakes the loop up. A loop that was closed has nobody to tell.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_resolve, [job for job in done if job.loop is loop])


class _Job:
    """The patches of one request, and what became of them."""

    def __init__(self, decoded: Callable[[int], Pixels], patches: int) -> None:
        self.decoded, self.patches = decoded, patches
        self.loop = asyncio.get_running_loop()
        self.result: asyncio.Future[list[Prediction]] = self.loop.create_future()
        self._taken, self._under_way = 0, 0
        self._outcomes: dict[int, Outcome] = {}

    @property
    def waiting(self) -> int:
        """How many of the patches nobody has taken yet."""
        return self.patches - self._taken

    def take(self) -> int:
        """Return the position of the next patch."""
        self._under_way += 1
        self._taken += 1
        return self._taken - 1

    def withdraw(self) -> None:
        """Let nobody take any more."""
        self._taken = self.patches

    def gets(self, position: int, outcome: Outcome) -> bool:
        """Keep what became of a patch that was taken, and return whether it was the last one."""
        self._outcomes[position] = outcome
        self._under_way -= 1
        return not (self.waiting or self._under_way)

    def resolve(self) -> None:
        """Give the predictions to the request that waits for them, or the first error."""
        if self.result.done():
            return
        outcomes = [self._outcomes[position] for position in sorted(self._outcomes)]
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                self.result.set_exception(outcome)
                return
        self.result.set_result(cast("list[Prediction]", outcomes))


def _decoded(job: _Job, position: int) -> Pixels | Exception:
    try:
        return job.decoded(position)
    except Exception as error:  # memory may be short, too
        return error


def _resolve(jobs: Iterable[_Job]) -> None:
    for job in jobs:
        job.resolve()
