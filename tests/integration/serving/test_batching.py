"""The engine: equal to the command line, fair, bounded, and nothing left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from cracks.errors import BundleError, UnreadableImage
from cracks.images.decode import Pixels, decode_to_size
from cracks.inference.bundle.classifier import BATCH_SIZE, Classifier, Measured
from serving.engine.batching import Engine, Overloaded
from serving.telemetry.metrics import Metrics
from tests.integration.bundles import grey_image, make_bundle

SIZE = 32
GREYS = range(40, 110)
IMAGES = [grey_image(grey, ("JPEG", "PNG")[grey % 2], SIZE + grey % 3) for grey in GREYS]
NAMES = [f"image {number}" for number in range(len(IMAGES))]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    place = tmp_path_factory.mktemp("engine")
    return Classifier(make_bundle(place / "bundle", size=SIZE))


@pytest.fixture(scope="module")
def engine(classifier: Classifier) -> Iterator[Engine]:
    with closing(Engine(classifier, Metrics())) as engine:
        yield engine


class GatedClassifier(Classifier):
    """Computes only while its gate is open, and remembers what went through."""

    def __init__(self, bundle: Path) -> None:
        super().__init__(make_bundle(bundle, size=SIZE))
        self.gate, self.greys = threading.Event(), list[list[int]]()
        self.gate.set()

    def open_request(self) -> Callable[[Pixels], Measured]:
        measure = super().open_request()

        def measured(batch: Pixels) -> Measured:
            assert self.gate.wait(20)
            self.greys.append(batch[:, 0, 0, 0].tolist())
            return measure(batch)

        return measured


@pytest.fixture
def gated(tmp_path: Path) -> GatedClassifier:
    return GatedClassifier(tmp_path / "bundle")


async def until(condition: Callable[[], object]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("waited in vain")


# --- predictions ----------------------------------------------------------------------------------


@pytest.mark.kernels
@pytest.mark.parametrize("together", [1, 2, 3, 7, len(IMAGES)])
def test_whatever_comes_together_gets_the_predictions_of_the_command_line_to_the_last_bit(
    engine: Engine, classifier: Classifier, together: int
) -> None:
    async def ask(first: int) -> list[object]:
        part = slice(first, first + together)
        return list(await engine.predict(IMAGES[part], NAMES[part]))

    async def ask_all() -> list[object]:
        parts = await asyncio.gather(*map(ask, range(0, len(IMAGES), together)))
        return [prediction for part in parts for prediction in part]

    expected = classifier.predict(IMAGES, NAMES)
    predictions = asyncio.run(ask_all())
    assert predictions == expected  # raw scores, too
    for prediction, other in zip(predictions, expected, strict=True):
        np.testing.assert_array_equal(prediction.features, other.features)  # type: ignore[attr-defined]


def test_patches_that_are_decoded_already_get_the_same_predictions(
    engine: Engine, classifier: Classifier
) -> None:
    pixels = np.stack([decode_to_size(image, SIZE) for image in IMAGES])
    predictions = asyncio.run(engine.predict_pixels(pixels))
    assert predictions == classifier.predict(IMAGES, NAMES)


def test_no_image_gets_no_prediction(engine: Engine) -> None:
    assert asyncio.run(engine.predict([], [])) == []


# --- batches --------------------------------------------------------------------------------------


def test_alone_an_image_does_not_wait_for_others_and_under_load_batches_fill(
    gated: GatedClassifier,
) -> None:
    engine = Engine(gated, Metrics())
    gated.greys.clear()

    async def ask() -> None:
        await engine.predict(IMAGES[:1], NAMES)
        assert [len(batch) for batch in gated.greys] == [1]
        gated.gate.clear()
        asked = [asyncio.create_task(engine.predict([image], ["one"])) for image in IMAGES]
        await until(lambda: engine.waiting and not gated.gate.is_set())
        gated.gate.set()
        await asyncio.gather(*asked)

    with closing(engine):
        asyncio.run(ask())
    sizes = [len(batch) for batch in gated.greys]
    assert max(sizes) == BATCH_SIZE
    assert len(sizes) < len(IMAGES) / 2


def test_a_single_image_does_not_wait_for_all_of_a_large_request(gated: GatedClassifier) -> None:
    engine = Engine(gated, Metrics())
    gated.greys.clear()
    many, one = [grey_image(60, size=SIZE)] * 64, [grey_image(200, size=SIZE)]

    async def ask() -> None:
        gated.gate.clear()
        large = asyncio.create_task(engine.predict(many, [""] * 64))
        await until(lambda: 0 < engine.waiting < 64)
        small = asyncio.create_task(engine.predict(one, ["one"]))
        await asyncio.sleep(0.05)
        gated.gate.set()
        await small
        assert not large.done()
        await large

    with closing(engine):
        asyncio.run(ask())
    before = [200 in batch for batch in gated.greys].index(True)
    assert before < len(many) / BATCH_SIZE / 2


# --- refusals -------------------------------------------------------------------------------------


def test_an_image_that_does_not_decode_is_named_and_costs_nobody_else_a_prediction(
    engine: Engine,
) -> None:
    async def ask() -> tuple[object, object]:
        broken = [IMAGES[0], b"no image", *IMAGES[1:9], b""]
        return await asyncio.gather(
            engine.predict(broken, [f"file {n}" for n in range(len(broken))]),
            engine.predict(IMAGES[:9], NAMES),
            return_exceptions=True,
        )

    refused, predicted = asyncio.run(ask())
    assert isinstance(refused, UnreadableImage)
    assert str(refused).startswith("file 1: not a JPEG")
    assert isinstance(predicted, list)
    assert len(predicted) == 9
    assert engine.waiting == 0


def test_when_too_many_wait_a_request_is_refused_at_once_and_told_when_to_come_again(
    gated: GatedClassifier,
) -> None:
    engine = Engine(gated, Metrics(), max_waiting=8)

    async def ask() -> None:
        gated.gate.clear()
        # Of a request that comes while nobody waits all patches may wait.
        large = asyncio.create_task(engine.predict(IMAGES, NAMES))
        await until(lambda: 0 < engine.waiting < len(IMAGES))
        for _ in range(2):
            with pytest.raises(Overloaded, match="images wait already") as refusal:
                await engine.predict(IMAGES[:1], NAMES)
            assert refusal.value.retry_after >= 1
        gated.gate.set()
        assert len(await large) == len(IMAGES)
        assert len(await engine.predict(IMAGES[:3], NAMES)) == 3

    with closing(engine):
        asyncio.run(ask())


def test_a_client_that_has_gone_leaves_nothing_behind(gated: GatedClassifier) -> None:
    engine = Engine(gated, Metrics())

    async def ask() -> None:
        gated.gate.clear()
        gone = [asyncio.create_task(engine.predict(IMAGES, NAMES)) for _ in range(3)]
        stays = asyncio.create_task(engine.predict(IMAGES[:5], NAMES))
        await until(lambda: 0 < engine.waiting < 3 * len(IMAGES) + 5)
        for task in gone:
            task.cancel()
        await asyncio.wait(gone)
        assert engine.waiting <= 5
        gated.greys.clear()
        gated.gate.set()
        assert len(await stays) == 5
        await asyncio.sleep(0.05)
        assert sum(map(len, gated.greys)) <= 5 + (gated.parallel_batches + 1) * BATCH_SIZE
        assert engine.waiting == 0

    with closing(engine):
        asyncio.run(ask())


def test_an_error_of_the_network_fails_its_request_and_the_next_one_is_served(
    engine: Engine,
) -> None:
    wrong = np.zeros((1, SIZE + 1, SIZE, 3), np.uint8)
    with pytest.raises(RuntimeError):
        asyncio.run(engine.predict_pixels(wrong))
    assert len(asyncio.run(engine.predict(IMAGES[:1], NAMES))) == 1


def test_a_network_that_gives_no_numbers_never_comes_into_service(tmp_path: Path) -> None:
    broken = Classifier(make_bundle(tmp_path / "broken", float("nan"), SIZE))
    with pytest.raises(BundleError, match="gives no numbers"):
        Engine(broken, Metrics())


def test_a_closed_engine_has_predicted_what_waited_and_has_no_threads_left(
    gated: GatedClassifier,
) -> None:
    engine = Engine(gated, Metrics())
    threads = [thread for thread in threading.enumerate() if thread.name == "engine"]

    async def ask() -> int:
        asked = asyncio.create_task(engine.predict(IMAGES, NAMES))
        await asyncio.sleep(0)
        await asyncio.to_thread(engine.close)
        return len(await asked)

    assert asyncio.run(ask()) == len(IMAGES)
    assert len(threads) >= gated.parallel_batches + 1
    assert not set(threads[-gated.parallel_batches - 1 :]) & set(threading.enumerate())
