"""Operators as `torch.ops.onesearch.*`: what torch.compile and torch.export put into a graph.

Eager calls don't pass through here: torch's dispatcher takes 2.5 us where the native call takes
0.4. A public function hands over only while it is traced. Operators that take a trie, which no
schema can name, break the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_LIBRARY: Any = torch.library.Library("onesearch", "DEF")  # type: ignore[no-untyped-call]


Result = torch.Tensor | tuple[torch.Tensor, ...]


def define(schema: str, function: Callable[..., Result], shape_of: Callable[..., Result]) -> None:
    """Registers a function under its schema, as "name(Tensor x) -> Tensor".

    `shape_of` takes the same arguments, without their values, and gives an empty result.
    """
    name = schema.split("(", maxsplit=1)[0]
    _LIBRARY.define(schema)
    _LIBRARY.impl(name, function, "CompositeExplicitAutograd")
    torch.library.register_fake(f"onesearch::{name}", shape_of, lib=_LIBRARY)
