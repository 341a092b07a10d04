"""The cap on memory: batches are cut, searches wait, what cannot fit is refused, nothing dies."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

import onesearch_fast as osf
from onesearch_fast.engine.assembly import Limits, _room_for_graphs
from onesearch_fast.engine.deadline import Deadline, one_deadline_per_request
from onesearch_fast.engine.memory import BatchLoads, Load, MemoryBudget, MemoryModel
from onesearch_fast.testing import random_codes
from onesearch_fast.testing.random_models import random_model

SIZES = (12, 10, 9, 8)
OFFSETS = (50, 62, 72, 81)
TRIE = osf.SidTrie.build(random_codes(400, SIZES, seed=6, skew=0.9), SIZES)
PROMPTS = [[5, 9, 1, 30, 2, 2], [7], list(range(49)), [8, 8, 8], [1, 2], [49]] * 4


def make_engine(max_memory_bytes: int | None = None, **options: Any) -> osf.Engine:
    arguments = {"dtype": "float32", "code_token_offsets": OFFSETS, **options}
    return osf.Engine.from_pretrained(
        random_model("qwen3", 95), TRIE, max_memory_bytes=max_memory_bytes, **arguments
    )


def least_bytes() -> int:
    """What the error for a hopeless cap says is needed."""
    with pytest.raises(ValueError, match="max_memory_bytes") as error:
        make_engine(1_000_000)
    return int(re.search(r"at least (\d+)", str(error.value))[1])  # type: ignore[index]


LEAST = least_bytes()


# The budget by itself: a search of n requests takes 100 n bytes and what is always there.

MODEL = MemoryModel(weights=1000, key_value=50, activation=0, logits=0, scratch=0, num_steps=0)
ALWAYS = MODEL.search(Load(0, 0, 0, 0))


def budget(room: int) -> MemoryBudget:
    return MemoryBudget(1000 + 10 + ALWAYS + room, MODEL, prefix_cache_bytes=10)


def loads(*prompt_tokens: int) -> BatchLoads:
    return BatchLoads(prompt_tokens, [1] * len(prompt_tokens), columns=0)


def test_parts_are_as_large_as_fits() -> None:
    chosen = budget(room=1000)
    assert list(chosen.split(range(3), loads(1, 1, 1))) == [[0, 1, 2]]
    assert list(chosen.split(range(4), loads(5, 5, 5, 1))) == [[0, 1], [2, 3]]
    assert list(chosen.split([3, 0], loads(10, 1, 1, 10))) == [[3], [0]]


def test_graphs_leave_room_for_the_smallest_search() -> None:
    least = 1000 + 10 + MODEL.smallest_search
    MemoryBudget(least + 70, MODEL, 10, cuda_graph_bytes=70)
    with pytest.raises(ValueError, match=r"cuda_graph_bytes: expected at most 70.*got 71"):
        MemoryBudget(least + 70, MODEL, 10, cuda_graph_bytes=71)
    with pytest.raises(ValueError, match=rf"max_memory_bytes.*got {least - 1}"):
        MemoryBudget(least - 1, MODEL, 10, cuda_graph_bytes=71)
    model: Any = None
    for left, graphs in (
        (0, 0),
        (70, 70),
        (MODEL.smallest_search + 80, MODEL.smallest_search + 40),
    ):
        limits = Limits(False, 10, least + left)
        assert _room_for_graphs(model, limits, MODEL) == graphs


def test_searches_wait_until_there_is_room() -> None:
    chosen, running, most = budget(room=ALWAYS + 400), 0, 0
    lock = threading.Lock()

    def search(_: int) -> None:
        nonlocal running, most
        with chosen.reserve(loads(2).of([0]), Deadline()):
            with lock:
                running += 1
                most = max(most, running)
            threading.Event().wait(0.002)
            with lock:
                running -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(search, range(40)))
    assert most == 2


def test_a_search_waits_no_longer_than_its_deadline() -> None:
    chosen = budget(room=400)
    (soon,) = one_deadline_per_request("test", 5, 1)
    with chosen.reserve(loads(4).of([0]), Deadline()), chosen.reserve(loads(4).of([0]), soon):
        assert soon.passed()
    with chosen.reserve(loads(4).of([0]), Deadline()):
        pass


# In the engine


def test_a_batch_is_cut_to_fit_and_answers_the_same() -> None:
    plain = make_engine().generate(PROMPTS, num_beams=40)
    capped = make_engine(LEAST + 2_000_000)
    got = capped.generate(PROMPTS, num_beams=40)
    assert plain.stats.batches == 1 < got.stats.batches < len(PROMPTS)
    torch.testing.assert_close(got.scores, plain.scores, atol=1e-4, rtol=0)
    assert torch.equal(got.rank, plain.rank)
    codes = plain.codes
    scores = capped.score(PROMPTS, codes)
    torch.testing.assert_close(scores, plain.scores, atol=1e-4, rtol=0)


@pytest.mark.parametrize("normalizer", ["level", "vocab"])
def test_a_refusal_names_what_would_fit(normalizer: str) -> None:
    engine = make_engine(LEAST + 100_000)
    with pytest.raises(ValueError, match=r"num_beams: expected at most (\d+) beams") as error:
        engine.generate([[1, 2, 3]], num_beams=400, normalizer=normalizer)
    fits = int(re.search(r"at most (\d+) beams", str(error.value))[1])  # type: ignore[index]
    assert engine.generate([[1, 2, 3]], num_beams=fits, normalizer=normalizer).count.item() == fits
    with pytest.raises(ValueError, match="num_beams"):
        engine.generate([[1, 2, 3]], num_beams=fits + 1, normalizer=normalizer)


def test_a_prompt_that_cannot_be_read_is_refused_with_its_limit() -> None:
    engine = make_engine(LEAST + 50_000)
    with pytest.raises(ValueError, match=r"input_ids: .* at most (\d+) tokens") as error:
        engine.generate([[1] * 120], num_beams=1)
    fits = int(re.search(r"at most (\d+) tokens", str(error.value))[1])  # type: ignore[index]
    assert engine.generate([[1] * fits], num_beams=1).count.item() == 1
    # The other requests of the batch are not searched for nothing.
    with pytest.raises(ValueError, match="input_ids"):
        engine.generate([[1], [1] * (fits + 1)], num_beams=1)


def test_waiting_for_memory_is_time_as_well() -> None:
    engine = make_engine(LEAST)
    budget = engine._executor._budget
    assert budget is not None
    with budget.reserve(Load(1, 1, 1, 1), Deadline()):
        out = engine.generate([[1]], num_beams=1, deadline_ms=5)
    assert out.complete.tolist() == [False] and out.count.tolist() == [1]
    assert engine.generate([[1]], num_beams=1).complete.tolist() == [True]


@pytest.mark.parametrize("cap", [0, -1, 1.5, True, "1GB", 1000, 1_000_000])
def test_caps_that_hold_nothing_are_refused(cap: Any) -> None:
    with pytest.raises(ValueError, match="max_memory_bytes"):
        make_engine(cap)


_LIMITED = """
    import resource, sys
    import torch
    import onesearch_fast as osf
    from itertools import accumulate
    from onesearch_fast.testing import random_codes
    from onesearch_fast.testing.random_models import random_model

    torch.set_num_threads(1)
    osf.set_num_threads(1)
    cap = int(sys.argv[1])
    sizes = (256, 128, 64, 64)
    offsets = tuple(accumulate(sizes[:-1], initial=500))
    trie = osf.SidTrie.build(random_codes(20_000, sizes), sizes)
    shape = {"hidden_size": 128, "intermediate_size": 512, "max_positions": 1024, "num_layers": 2}
    model = random_model("qwen3", 1012, **shape)
    engine = osf.Engine.from_pretrained(
        model, trie, dtype="float32", code_token_offsets=offsets, max_memory_bytes=cap
    )
    engine.generate([[1, 2, 3]], num_beams=4)
    pages = int(open("/proc/self/statm").read().split()[0])
    # Threads reserve addresses that they do not use; the margin is theirs.
    limit = pages * resource.getpagesize() + cap + (96 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    prompts = torch.arange(24 * 700).view(24, 700) % 500
    out = engine.generate(prompts, num_beams=128)
    assert out.count.tolist() == [128] * 24 and out.stats.batches > 2
    try:
        engine.generate(prompts[:1], num_beams=60_000, constrained=False)
    except ValueError as error:
        assert "num_beams: expected at most" in str(error)
        print("refused")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_a_process_with_little_memory_lives(tmp_path: Path) -> None:
    """A batch that wants some 300 MB in a process that may take 100."""
    script = tmp_path / "limited.py"
    script.write_text(textwrap.dedent(_LIMITED))
    done = subprocess.run(
        [sys.executable, script, str(100 << 20)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "refused\n"
