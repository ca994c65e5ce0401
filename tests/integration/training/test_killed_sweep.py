"""A sweep killed in a trial goes on at that trial."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.unit.builders import ROOT
from tests.unit.training.sweep.test_study import open_sweep, run_sweep

KILLED = """
import os, signal, sys
from pathlib import Path
from tests.unit.training.sweep.test_study import learn_by_rate, run_sweep, open_sweep

def learn(trial):
    if trial.number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return learn_by_rate(trial)

run_sweep(open_sweep(Path(sys.argv[1])), 5, learn)
"""


def test_a_killed_process_loses_only_the_trial_that_it_was_at(tmp_path: Path) -> None:
    undisturbed = run_sweep(open_sweep(tmp_path, "undisturbed"), 5)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    left = open_sweep(tmp_path).trials()
    assert [(trial.number, trial.state) for trial in left] == [
        (1, "finished"),
        (2, "finished"),
        (3, "running"),
    ]
    assert run_sweep(open_sweep(tmp_path), 5) == undisturbed
