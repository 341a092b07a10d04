"""What the operator refuses, and the promises that hold on every backend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from onesearch_fast import runtime
from onesearch_fast.errors import BackendUnavailable
from onesearch_fast.index.sid_trie import SidTrie
from onesearch_fast.ops import BeamStepOptions, BeamStepResult, constrained_beam_step
from onesearch_fast.registry import use_backend
from onesearch_fast.testing.cases.constrained_beam_step import poisoned, random_step, random_trie

BACKENDS = ("cpu", "torch")


def step(**changes: Any) -> dict[str, Any]:
    return random_step(torch.float32, random_trie()) | changes


def columns(result: BeamStepResult) -> list[torch.Tensor]:
    fields = ("scores", "parent_beam", "tokens", "node", "count", "best_dropped")
    return [getattr(result, field) for field in fields]


def same_bits(a: BeamStepResult, b: BeamStepResult) -> bool:
    return all(torch.equal(x, y) for x, y in zip(columns(a), columns(b), strict=True))


def other_filter() -> Any:
    return SidTrie.build(np.zeros((1, 3), dtype=np.int32), (24, 37, 16)).filter(allow=[0])


def other_tries() -> list[SidTrie]:
    return [random_trie(), random_trie(), random_trie(9, (24, 37))]


def on_meta(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.int32, device="meta")


def negated_view() -> torch.Tensor:
    return torch.zeros(3, 8, 37, dtype=torch.complex64).conj().imag


REFUSED = [
    (TypeError, "trie: expected a SidTrie or a Snapshot", {"trie": "trie.bin"}),
    (ValueError, r"trie: expected one, or one per request \(3\)", {"trie": [random_trie()] * 2}),
    (
        ValueError,
        "trie: expected equal level sizes",
        {"trie": other_tries()},
    ),
    (TypeError, "num_beams: expected an integer", {"num_beams": 8.0}),
    (TypeError, "num_beams: expected an integer", {"num_beams": True}),
    (ValueError, "num_beams: expected 1 to 65536, got 0", {"num_beams": 0}),
    (ValueError, "num_beams: expected 1 to 65536, got 65537", {"num_beams": 65537}),
    (TypeError, "level: expected an integer", {"level": None}),
    (ValueError, r"level: expected a level of the trie, in \[0, 3\), got 3", {"level": 3}),
    (ValueError, "level: expected a level of the trie", {"level": -1}),
    (TypeError, "logits: expected a torch.Tensor", {"logits": np.zeros((3, 8, 37))}),
    (TypeError, "logits: expected torch.float32 or", {"logits": torch.zeros(3, 8, 37).double()}),
    (ValueError, r"logits: expected shape \[batch, beam_in, code\]", {"logits": torch.zeros(3, 8)}),
    (
        ValueError,
        r"\[batch, beam_in, code\] = \[3, 8, 37\], got \[3, 8, 36\]",
        {"logits": torch.zeros(3, 8, 36)},
    ),
    (ValueError, "1 to 1 beams", {"level": 0, "logits": torch.zeros(3, 8, 24)}),
    (ValueError, "logits: expected 1 to 65536 beams", {"logits": torch.zeros(3, 0, 37)}),
    (ValueError, r"pass logits\.detach\(\)", {"logits": torch.zeros(3, 8, 37).requires_grad_()}),
    (TypeError, "node: expected int32", {"node": torch.zeros(3, 8).long()}),
    (ValueError, r"node: expected \[batch, beam_in\] = \[3, 8\]", {"node": torch.zeros(3).int()}),
    (
        ValueError,
        "node: expected a dense tensor in memory",
        {"node": on_meta(3, 8)},
    ),
    (TypeError, "beam_scores: expected float32", {"beam_scores": torch.zeros(3, 8).half()}),
    (ValueError, "beam_scores: expected", {"beam_scores": torch.zeros(8, 3)}),
    (ValueError, "normalizer: expected one of level, child", {"normalizer": "softmax"}),
    (ValueError, "log_normalizer: expected a tensor with", {"normalizer": "vocab"}),
    (ValueError, "log_normalizer: expected none", {"log_normalizer": torch.zeros(3, 8)}),
    (
        ValueError,
        r"log_normalizer: expected \[batch, beam_in\]",
        {"normalizer": "vocab", "log_normalizer": torch.zeros(3)},
    ),
    (ValueError, r"filter: expected one, or one per request \(3\)", {"filter": [None, None]}),
    (TypeError, "filter: expected an ItemFilter", {"filter": [None, None, "red"]}),
    (TypeError, "filter: expected an ItemFilter", {"filter": 7}),
    (ValueError, r"negated view; pass logits\.resolve_neg\(\)", {"logits": negated_view()}),
    (ValueError, "filter: expected a filter of this trie", {"filter": other_filter()}),
    (TypeError, "out: expected a BeamStepResult", {"out": {}}),
    (ValueError, r"out\.scores: expected \[batch, num_b", {"out": BeamStepResult.empty(3, 9)}),
    (ValueError, r"out\.scores: expected", {"out": BeamStepResult.empty(2, 8)}),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("error", "sentence", "changes"), REFUSED)
def test_bad_arguments_are_refused(
    error: type[Exception], sentence: str, changes: dict[str, Any], backend: str
) -> None:
    with pytest.raises(error, match=sentence) as raised:
        constrained_beam_step(**step(**changes), backend=backend)
    assert str(raised.value).startswith("constrained_beam_step: ")


@pytest.mark.parametrize(
    ("error", "sentence", "changes"),
    [
        (TypeError, r"out\.node: expected int32", {"node": torch.zeros(3, 8)}),
        (TypeError, r"out\.scores: expected float32", {"scores": torch.zeros(1).half()}),
        (ValueError, r"out\.tokens: expected .*\[3, 8\]", {"tokens": torch.zeros(3, 7).int()}),
        (ValueError, r"out\.count: expected \[batch\] = \[3\]", {"count": torch.zeros(4).int()}),
        (TypeError, r"out\.count: expected a tensor", {"count": 3}),
    ],
)
def test_a_result_is_consistent(
    error: type[Exception], sentence: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(error, match=sentence):
        replace(BeamStepResult.empty(3, 8), **changes)


def test_the_tensors_of_a_result_lie_apart() -> None:
    result = BeamStepResult.empty(3, 8)
    with pytest.raises(ValueError, match="out: expected memory of its own for each tensor"):
        replace(result, node=result.tokens)
    BeamStepResult.empty(0, 8)


def test_out_must_not_be_the_input() -> None:
    arguments = step()
    last = constrained_beam_step(**arguments)
    arguments |= {"node": last.node, "beam_scores": last.scores}
    with pytest.raises(
        ValueError, match="out: expected memory of its own, got the memory of node or"
    ):
        constrained_beam_step(**arguments, out=last)


@pytest.mark.parametrize("backend", BACKENDS)
def test_out_is_filled_in_place(backend: str) -> None:
    arguments = step()
    out = poisoned(arguments)
    addresses = [column.data_ptr() for column in columns(out)]
    assert constrained_beam_step(**arguments, out=out, backend=backend) is out
    assert [column.data_ptr() for column in columns(out)] == addresses
    assert same_bits(out, constrained_beam_step(**arguments, backend=backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_out_may_be_a_part_of_larger_memory(backend: str) -> None:
    arguments = step()
    levels = BeamStepResult.empty(3 * 4, 8)
    rows = [column.unflatten(0, (3, 4))[:, 2] for column in columns(levels)]
    part = BeamStepResult(*rows)
    constrained_beam_step(**arguments, out=part, backend=backend)
    assert same_bits(part, constrained_beam_step(**arguments, backend=backend))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("normalizer", ["level", "children"])
def test_the_bits_do_not_depend_on_the_batch(backend: str, normalizer: str) -> None:
    arguments = random_step(torch.float32, random_trie(), batch=7, normalizer=normalizer)
    together = constrained_beam_step(**arguments, backend=backend)
    for request in range(7):
        rows = slice(request, request + 1)
        tensors = {name: arguments[name][rows] for name in ("logits", "node", "beam_scores")}
        alone = constrained_beam_step(**arguments | tensors, backend=backend)
        assert same_bits(alone, BeamStepResult(*(column[rows] for column in columns(together))))


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    arguments = random_step(
        torch.float32, random_trie(20000, (64, 300, 8), 1.2), batch=5, beam_in=70, num_beams=70
    )
    before = runtime.get_num_threads()
    try:
        results = []
        for num_threads in (1, 2, 5):
            runtime.set_num_threads(num_threads)
            results.append(constrained_beam_step(**arguments, backend="cpu"))
    finally:
        runtime.set_num_threads(before)
    assert same_bits(results[0], results[1])
    assert same_bits(results[0], results[2])


def test_half_subnormals_count_whatever_the_thread_does_with_subnormals() -> None:
    arguments = random_step(torch.float16, random_trie(), normalizer="none")
    arguments["logits"] = arguments["logits"] * 1e-5
    expected = constrained_beam_step(**arguments, backend="cpu")
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormals")
    try:
        flushing = constrained_beam_step(**arguments, backend="cpu")
    finally:
        torch.set_flush_denormal(False)
    assert same_bits(flushing, expected)


def test_backends_agree_on_unverified_bytes(tmp_path: Path) -> None:
    path = tmp_path / "sid_trie.bin"
    random_trie().save(path)
    sound = path.read_bytes()
    rng = np.random.default_rng(0)
    for trial in range(40):
        content = np.frombuffer(sound, dtype=np.uint8).copy()
        content[rng.integers(640, len(content), 60)] = rng.integers(0, 256, 60)
        path.write_bytes(content.tobytes())
        trie = SidTrie.load(path, verify=False)
        arguments = random_step(torch.float32, trie, trial % 3, beam_in=12, normalizer="none")
        arguments["filter"] = trie.filter(deny=np.arange(0, 600, 3))
        native, reference = (
            constrained_beam_step(**arguments, backend=backend) for backend in BACKENDS
        )
        # Not the nodes: of two equal tokens in one node, which no sound trie holds, either may win.
        for name in ("scores", "parent_beam", "tokens", "count"):
            assert torch.equal(getattr(native, name), getattr(reference, name))


def test_inputs_are_left_untouched() -> None:
    arguments = step()
    before = {name: arguments[name].clone() for name in ("logits", "node", "beam_scores")}
    constrained_beam_step(**arguments)
    assert all(torch.equal(arguments[name], value) for name, value in before.items())


@pytest.mark.parametrize("backend", BACKENDS)
def test_integers_of_numpy_count(backend: str) -> None:
    plain = constrained_beam_step(**step(), backend=backend)
    arguments = step()
    arguments |= {name: np.int64(arguments[name]) for name in ("num_beams", "level")}
    assert torch.equal(constrained_beam_step(**arguments, backend=backend).tokens, plain.tokens)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there it runs: tests/gpu")
def test_on_a_gpu_triton_is_asked_for_what_cuda_does_not_do() -> None:
    def asked(num_beams: int, options: BeamStepOptions | None = None) -> str:
        trie = SidTrie.build(np.zeros((1, 2), dtype=np.int32), (2, 2))
        with FakeTensorMode(), pytest.raises(BackendUnavailable) as refused:
            logits = torch.empty(1, 1, 2, device="cuda")
            node = torch.empty(1, 1, dtype=torch.int32, device="cuda")
            scores = torch.empty(1, 1, device="cuda")
            constrained_beam_step(logits, node, scores, trie, num_beams, 0, options=options)
        return str(refused.value)

    assert "got no name" in asked(4096)
    assert "got 'triton'" in asked(4097)
    assert "got 'triton'" in asked(8, BeamStepOptions(sibling_penalty=0.5))
    with use_backend("cuda"):
        assert "got 'cuda'" in asked(8, BeamStepOptions(max_children_per_parent=1))
