"""Reading Hugging Face configs: a key that is missing or out of range is named."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from onesearch_fast.errors import invalid


@dataclass(frozen=True)
class ConfigReader:
    """A Hugging Face config, and in whose name it is read."""

    where: str
    config: Mapping[str, Any]

    def size(self, key: str, default: int | None = None) -> int:
        """The integer of at least 1 at `key`; `default` where there is none."""
        value = self.config.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise invalid(self.where, key, "an integer of at least 1", value)
        return value

    def head_dim(self, hidden_size: int, heads_key: str) -> int:
        """The width of a head, when the heads share the hidden size."""
        heads = self.size(heads_key)
        if hidden_size % heads:
            raise invalid(self.where, heads_key, f"a divisor of {hidden_size}", heads)
        return hidden_size // heads

    def one_of(self, key: str, served: Collection[Any], default: Any) -> Any:
        """What stands at `key`, or `default` when nothing does."""
        value = self.config.get(key, default)
        if value not in served:
            expected = " or ".join(map(repr, served))
            raise invalid(self.where, key, expected, repr(value), "nothing else is served")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """Whether `key` is set."""
        return bool(self.config.get(key, default))


def check_same(own: Any, given: Any) -> None:
    """Raises ValueError unless two configs (dataclasses of one type) agree.

    Shapes alone do not tell: other heads, rotary bases or untied outputs may fit as well.
    """
    for one in fields(own):
        wanted, got = getattr(own, one.name), getattr(given, one.name)
        if wanted != got:
            remedy = "make a new engine for another architecture"
            raise invalid("load_model", one.name, str(wanted), got, remedy)
