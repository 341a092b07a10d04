"""Two processes over gloo end with the weights of one."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from onesearch_fast.data.readers.native import write_folder
from onesearch_fast.data.synthetic import make_synthetic
from onesearch_fast.files import read_json, write_json
from onesearch_fast.train.config import smoke_config

PATIENCE_SECONDS = 300


def train(processes: int, data: Path, config: Path, run: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ONESEARCH_NUM_THREADS": "1"}
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    verb = ["train", str(data), "--run", str(run), "--config", str(config)]
    # After "--", or torchrun would take our options for its own.
    command = [sys.executable, *launcher, "-m", "--", "onesearch_fast.cli.main", *verb]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch is without gloo")
def test_two_processes_train_the_model_of_one(tmp_path: Path) -> None:
    data, config = tmp_path / "data", tmp_path / "config.json"
    write_folder(make_synthetic(seed=5, num_items=200, num_users=40).dataset, data)
    stages = tuple(replace(stage, epochs=1) for stage in smoke_config().stages[1:])
    settings = replace(smoke_config(), stages=stages)
    write_json(config, json.loads(json.dumps(settings.to_json())))
    for processes in (1, 2):
        train(processes, data, config, tmp_path / str(processes))
    one, two = (tmp_path / name / "served" / "model.safetensors" for name in ("1", "2"))
    others = load_file(two)
    for name, value in load_file(one).items():
        assert torch.allclose(value, others[name], atol=2e-3), name
    for stage in ("stage_1_cooccurrence", "stage_2_personalisation"):
        curves = [read_json(tmp_path / run / stage / "curves.json") for run in ("1", "2")]
        first, second = ([point["loss"] for point in curve["points"]] for curve in curves)
        assert first == pytest.approx(second, rel=1e-3)
        assert curves[0]["tokens"] == curves[1]["tokens"]
