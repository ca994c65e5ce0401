"""Fine-tuning on real photographs: whole, and killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from processes import RunningProcess, clone_working_tree, wait_until

from cracks.system.hashing import digest_of_file
from cracks.workspace.params_file import set_params
from cracks.workspace.paths import STAGES
from tests.e2e.conftest import LITTLE_EVALUATION, shared_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WEIGHTS = "weights/mobilenet_v2_1.0_224_no_top_from_ptq.weights.h5"

#: Small images and few steps: what is tested is the way, not where it leads.
FINETUNE = [
    "featurize.architecture=mobilenetv2",
    "featurize.image_size=64",
    "train.mode=finetune",
    "train.epochs=3",
    "train.batch_size=64",
    "train.learning_rate=0.01",
    "train.finetune.epochs=2",
    "train.finetune.from_layer=block_15_expand",
]


class Site:
    """A clone in which stages run one by one, without DVC, which would restore what it knows."""

    def __init__(self, root: Path, logs: Path) -> None:
        self.root, self._logs = root, logs

    def start(self, stage: str) -> RunningProcess:
        command = [sys.executable, "-m", "tasks", stage]
        return RunningProcess(command, self._logs, cwd=self.root, name=stage)

    def run(self, *stages: str) -> None:
        for stage in stages:
            process = self.start(stage)
            assert process.wait(400) == 0, process.log

    def report(self, stage: str) -> dict[str, object]:
        content: dict[str, object] = json.loads((self.root / f"reports/{stage}.json").read_text())
        return content

    def learned(self) -> dict[str, str]:
        """Return the digests of what a training leaves that depends on nothing but its inputs."""
        files = ("classifier.keras", "trainable/network.bin", "trainable/model.keras")
        found = {name: digest_of_file(self.root / "models" / name) for name in files}
        return found | {"history": (self.root / "models/history.csv").read_text()}

    def forget(self) -> None:
        (self.root / "models/classifier.keras").unlink()
        (self.root / "models/history.csv").unlink()

    def kill_in_training(self, checkpoint: str, after: float) -> None:
        """Kill a training some seconds after the first epoch that was kept."""
        kept = self.root / "models/.checkpoints" / checkpoint
        process = self.start("train")
        wait_until(lambda: kept.exists() or process.exit_code is not None, "an epoch", timeout=300)
        assert process.exit_code is None, process.log
        time.sleep(after)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL, "it was done before it could be killed"
        assert kept.exists()


def test_a_fine_tuning_killed_in_an_epoch_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path,
) -> None:
    site = Site(clone_working_tree(tmp_path / "workspace"), tmp_path / "logs")
    few = ["split.train=0.3", "split.validation=0.3", "split.test=0.4", *LITTLE_EVALUATION]
    files = (
        f"ingest.source={shared_file('data/metu-2k.zip')}",
        f"featurize.weights={shared_file(WEIGHTS)}",
    )
    set_params(site.root / "params.yaml", [*files, *few, *FINETUNE])
    site.run(*STAGES)
    undisturbed, report = site.learned(), site.report("train")
    assert report["mode"] == "finetune"
    assert (site.root / "models/bundle/bundle.json").is_file()
    site.forget()
    site.kill_in_training("finetune.npz", after=0.3)
    assert not (site.root / "models/classifier.keras").exists()
    site.run("train")
    assert site.learned() == undisturbed
    assert site.report("train")["epochs"] == report["epochs"]
    assert not (site.root / "models/.checkpoints").exists()
