"""Packed weights: several checkpoint tensors side by side, so that one product serves them all."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch

from onesearch_fast.errors import invalid
from onesearch_fast.models.checkpoint import Checkpoint
from onesearch_fast.models.int8_weight import Int8Weight
from onesearch_fast.models.onednn_weight import OnednnWeight

Packed = torch.Tensor | Int8Weight | OnednnWeight


@dataclass(frozen=True)
class Slot:
    """Where a checkpoint tensor goes.

    Attributes:
        shape: the checkpoint tensor's shape.
        folded: the shape it is seen in to be copied to `view`; missing leading axes are repeated.
        view: a view of packed memory, or a weight in a form of its own.
        optional: whether zeros take the place of a tensor that is not there.
    """

    shape: tuple[int, ...]
    folded: tuple[int, ...]
    view: Packed
    optional: bool = False

    @classmethod
    def whole(cls, packed: Packed) -> Slot:
        """All of `packed`, as it is."""
        return cls(tuple(packed.shape), tuple(packed.shape), packed)

    @classmethod
    def transposed(cls, packed: Packed) -> Slot:
        """Checkpoint [in, out], packed [out, in]."""
        return cls.whole(packed.t())

    @classmethod
    def repeated(cls, packed: torch.Tensor) -> Slot:
        """One vector for every row of `packed`."""
        vector = tuple(packed.shape[1:])
        return cls(vector, vector, packed)

    def zero(self) -> None:
        """For an optional tensor, which is no weight of a product."""
        assert isinstance(self.view, torch.Tensor)
        self.view.zero_()

    def fill(self, tensor: torch.Tensor) -> None:
        """Copies `tensor` in, converting it to the dtype and device of the packed memory."""
        self.view.copy_(tensor.detach().reshape(self.folded))


def fill(slots: Mapping[str, Slot], checkpoint: Checkpoint) -> None:
    """Copies every tensor of a checkpoint into its slot, after checking that all are there and fit.

    Raises:
        ValueError: a tensor is missing (and its slot not optional), is one too many, or has another
            shape.
    """
    names = checkpoint.shapes.keys()
    required = {name for name, slot in slots.items() if not slot.optional}
    missing, surplus = required - names, names - slots.keys()
    if missing:
        raise _mismatch("checkpoint", f"the tensors {_shown(missing)}", "none of them")
    if surplus:
        raise _mismatch("checkpoint", "no other tensors than the config implies", _shown(surplus))
    for name, shape in checkpoint.shapes.items():
        if shape != slots[name].shape:
            raise _mismatch(name, f"shape {slots[name].shape}", shape)
    with torch.no_grad():
        for name, slot in slots.items():
            if name in names:
                slot.fill(checkpoint.tensor(name))
            else:
                slot.zero()


def _mismatch(argument: str, expected: str, got: object) -> ValueError:
    return invalid("load_model", argument, expected, got, "the config and the weights disagree")


def _shown(names: Collection[str]) -> str:
    first = sorted(names)[:3]
    return ", ".join(first) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
