"""What a user gets from the wheel alone: run from outside the repository (`make wheel`)."""

import json
import subprocess
import sys
import sysconfig
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.data.synthetic import make_synthetic

INSTALLED = Path(osf.__file__).is_relative_to(sysconfig.get_paths()["platlib"])
pytestmark = pytest.mark.skipif(
    not INSTALLED, reason="the package under test is the editable checkout, not an installed wheel"
)


def run_verb(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "onesearch-fast"
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def test_trie_file_and_native_step_work(tmp_path: Path) -> None:
    codes = np.array([[0, 1, 2], [0, 1, 3], [3, 0, 0], [3, 0, 0]])
    trie = osf.SidTrie.build(codes, (4, 2, 4), item_ids=[10, 11, 12, 13])
    trie.save(tmp_path / "trie.bin")
    loaded = osf.SidTrie.load(tmp_path / "trie.bin")
    assert loaded.num_items == 4
    assert loaded.num_sids == 3
    logits = torch.tensor([[[1.0, 5.0, 5.0, 2.0]]])
    node = torch.zeros(1, 1, dtype=torch.int32)
    step = osf.ops.constrained_beam_step(
        logits, node, torch.zeros(1, 1), loaded, 3, level=0, backend="cpu"
    )
    assert step.count.tolist() == [2]
    assert step.tokens.tolist() == [[3, 0, -1]]
    log_probs = torch.log_softmax(logits[0, 0], dim=0)
    torch.testing.assert_close(step.scores[0, :2], log_probs[[3, 0]])


def test_resources_are_in_the_wheel() -> None:
    root = resources.files("onesearch_fast")
    assert root.joinpath("py.typed").is_file()
    assert root.joinpath("data", "prompt_templates", "compact.json").is_file()
    catalogue = make_synthetic(seed=1, num_items=200, num_users=40)
    assert len(catalogue.dataset.items) == 200


def test_doctor_says_what_works_here() -> None:
    result = run_verb("doctor", "--json")
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)
    assert "constrained_beam_step" in json.dumps(facts)


def test_the_package_is_a_program_of_its_own() -> None:
    command = [sys.executable, "-m", "onesearch_fast", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == f"onesearch-fast {osf.__version__}\n"


def test_a_missing_served_folder_is_one_clear_line(tmp_path: Path) -> None:
    result = run_verb("search", str(tmp_path / "nowhere"), "red shoes")
    assert result.returncode == 2
    assert "nowhere" in result.stderr
    assert "Traceback" not in result.stderr
