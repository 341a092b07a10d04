"""What no trie can be built of is refused before anything is trained."""

from __future__ import annotations

import re

import pytest

from onesearch_fast.sid.codes import suggest_level_sizes
from onesearch_fast.sid.config import SidConfig
from onesearch_fast.train import checks


@pytest.mark.parametrize("config", [SidConfig(), SidConfig(opq=()), SidConfig(opq=(4, 4))])
def test_few_items_have_too_few_codes(config: SidConfig) -> None:
    with pytest.raises(ValueError, match=r"items: expected 6 or more .*, got 5; add items, or set"):
        checks.check_level_sizes(5, config)
    checks.check_level_sizes(6, config)


def test_so_many_items_get_two_codes_a_level() -> None:
    least = [min(sum(suggest_level_sizes(n), ())) for n in range(1, 10)]
    assert least.index(2) + 1 == checks._FEWEST_ITEMS


def test_given_sizes_serve_few_items() -> None:
    checks.check_level_sizes(2, SidConfig(level_sizes=(2,), opq=(2,)))


@pytest.mark.parametrize(
    "config",
    [
        SidConfig(level_sizes=(8,), opq=()),
        SidConfig(level_sizes=(8, 1), opq=(4,)),
        SidConfig(level_sizes=(8, 1)),
        SidConfig(opq=(1, 4)),
    ],
)
def test_sizes_of_no_trie_are_refused_for_any_catalogue(config: SidConfig) -> None:
    given = re.escape(f"got ({config.level_sizes}, {config.opq})")
    expected = r"sid\.level_sizes \+ sid\.opq: expected 2 levels or more, of 2 codes or more"
    with pytest.raises(ValueError, match=f"{expected} each, {given}"):
        checks.check_level_sizes(1_000, config)
