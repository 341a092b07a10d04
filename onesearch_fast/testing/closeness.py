"""Comparison of float tensors that never lets NaN or infinity hide a difference."""

from __future__ import annotations

import torch

from onesearch_fast.registry import Tolerance


def assert_close(
    got: torch.Tensor, want: torch.Tensor, tolerance: Tolerance, name: str = "tensor"
) -> None:
    """Asserts equal shapes, NaN and infinities at the same places, and closeness elsewhere.

    Close is |got - want| <= absolute + relative * |want|, in float64. The message gives the worst
    place.
    """
    if got.shape != want.shape:
        raise AssertionError(f"{name}: shape {tuple(got.shape)}, want {tuple(want.shape)}")
    got, want = got.double(), want.double()
    same = (got == want) | (got.isnan() & want.isnan())
    comparable = got.isfinite() & want.isfinite()
    allowed = tolerance.absolute + tolerance.relative * want.abs()
    wrong = ~(same | (comparable & ((got - want).abs() <= allowed)))
    if wrong.any():
        error = (got - want).abs().nan_to_num(torch.inf).where(wrong, -1.0)
        worst = torch.unravel_index(error.argmax(), error.shape)
        place = [int(index) for index in worst]
        raise AssertionError(
            f"{name}: {int(wrong.sum())} of {wrong.numel()} values differ; worst at {place}: "
            f"{float(got[worst])!r}, want {float(want[worst])!r}"
        )
