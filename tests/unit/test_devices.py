from __future__ import annotations

import torch

from onesearch_fast.ops.constrained_beam_step import BeamStepResult
from onesearch_fast.testing.devices import on_device


def test_a_moved_tensor_lies_as_it_did() -> None:
    room = torch.arange(60).view(6, 10)
    for view in (room[1:4, 2:7:2], room.mT, room[:1].expand(6, 10), room[0, 3]):
        moved = on_device(view, "cpu")
        assert torch.equal(moved, view)
        assert moved.stride() == view.stride()
        assert moved.data_ptr() != view.data_ptr()


def test_results_and_arguments_are_moved_whole() -> None:
    result = BeamStepResult.empty(2, 3)
    moved = on_device({"out": result, "level": 1, "none": None}, "cpu")
    assert torch.equal(moved["out"].node, result.node)
    assert moved["out"].node.data_ptr() != result.node.data_ptr()
    assert (moved["level"], moved["none"]) == (1, None)
