"""A process killed without warning, at several points, ends with the bits of an undisturbed one."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from onesearch_fast.data.readers.native import write_folder
from onesearch_fast.data.synthetic import make_synthetic
from onesearch_fast.files import sha256, write_json
from onesearch_fast.train.config import smoke_config

# What must exist when the kill comes: early, inside the stages, and before the served folder.
KILL_WHEN = ("tokenizer", "stage_1_alignment", "stage_2_cooccurrence")
PATIENCE_SECONDS = 400


def train(data: Path, config: Path, run: Path) -> subprocess.Popen[bytes]:
    # One thread: sums in training depend on how many there are.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ONESEARCH_NUM_THREADS": "1"}
    words = ["train", str(data), "--run", str(run), "--config", str(config)]
    return subprocess.Popen(
        [sys.executable, "-m", "onesearch_fast.cli.main", *words],
        cwd=run.parent,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def kill_once_there(process: subprocess.Popen[bytes], folder: Path) -> None:
    began = time.monotonic()
    while not folder.exists():
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        assert time.monotonic() - began < PATIENCE_SECONDS, f"{folder} did not come"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def finish(process: subprocess.Popen[bytes]) -> None:
    _, complaints = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, complaints.decode()


def checksums(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): sha256(f) for f in folder.rglob("*") if f.is_file()}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    data, config = tmp_path / "data", tmp_path / "config.json"
    write_folder(make_synthetic(seed=5, num_items=200, num_users=80).dataset, data)
    write_json(
        config, json.loads(json.dumps(asdict(replace(smoke_config(), checkpoint_seconds=0.5))))
    )
    finish(train(data, config, tmp_path / "whole"))
    for step in KILL_WHEN:
        kill_once_there(train(data, config, tmp_path / "killed"), tmp_path / "killed" / step)
    finish(train(data, config, tmp_path / "killed"))
    assert checksums(tmp_path / "killed" / "served") == checksums(tmp_path / "whole" / "served")
    left = [path.name for path in (tmp_path / "killed").rglob(".*") if path.is_dir()]
    assert left == []
