"""A writer killed without warning, again and again: what it acknowledged is there, whole.

The writer says what it is about to do, does it, and says when that is acknowledged. After each kill
the store must open at the last acknowledged update or, when the kill fell between the write and the
word of it, at the one after. ONESEARCH_KILLS sets how often, for each durability.
"""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from onesearch_fast.index import LiveStore, SidTrie

KILLS = int(os.environ.get("ONESEARCH_KILLS", "60"))
MAX_SECONDS_TO_LIVE = 0.02
COMPACT_AFTER = 40
SIZES = (6, 5, 4)


@dataclass(frozen=True)
class Item:
    sid: tuple[int, ...]
    score: float = 0.0
    price: int | None = None


Items = dict[int, Item]
History = dict[int, Items]  # version -> its items


def sids_of(items: Items) -> list[tuple[int, ...]]:
    return [item.sid for item in items.values()]


def scores_of(items: Items) -> list[float]:
    return [item.score for item in items.values()]


def prices_of(items: Items) -> dict[str, list[int | None]]:
    return {"price": [item.price for item in items.values()]}


def items_after(version: int, items: Items) -> Items:
    """What the update that makes `version` leaves of `items`: it follows from the two alone."""
    draw = random.Random(version)
    some = draw.sample(sorted(items), min(len(items), 6))
    kind = draw.choice(["insert", "insert", "delete", "score", "price"])
    if kind == "delete" and len(items) > 20:
        return {i: item for i, item in items.items() if i not in some}
    if kind == "score" and some:
        return items | {i: replace(items[i], score=items[i].score + 1) for i in some}
    if kind == "price" and some:
        return items | {i: replace(items[i], price=version) for i in some}
    fresh = {*draw.sample(range(300), 8)} - {*items} or {1000 + version}
    sids = {i: tuple(draw.randrange(size) for size in SIZES) for i in sorted(fresh)}
    return items | {i: Item(sid, float(draw.randrange(3)), version) for i, sid in sids.items()}


def apply(store: LiveStore, before: Items, after: Items) -> None:
    """The one update that leads from one to the other."""
    gone = [i for i in before if i not in after]
    fresh = {i: item for i, item in after.items() if i not in before}
    changed = {i: after[i] for i in before if i in after and after[i] != before[i]}
    if gone:
        store.delete(gone)
    elif fresh:
        store.insert(list(fresh), sids_of(fresh), scores_of(fresh), prices_of(fresh))
    elif any(item.score != before[i].score for i, item in changed.items()):
        store.update_scores(list(changed), scores_of(changed))
    else:
        store.update_attributes(list(changed), prices_of(changed))


def write_until_killed(folder: Path, history: History, say: int) -> None:
    """Says, for each update, which version it goes back to (-1: none), and when it is done or gone.

    Between updates it compacts now and then, and the store does so behind its back.
    """
    store = LiveStore.open(folder, compact_after=COMPACT_AFTER)
    version = store.snapshot().version
    draw = random.Random(version)
    while True:
        if draw.randrange(20) == 0:
            store.compact()
        known = [v for part in store.versions() for v in part]
        target = draw.choice(known) if draw.randrange(10) == 0 else -1
        os.write(say, f"{target} ".encode())
        if target >= 0:
            history[version + 1] = history[target]
            try:
                store.rollback(target)
            except ValueError:  # a compaction came in between
                os.write(say, b"gone ")
                continue
        else:
            history[version + 1] = items_after(version + 1, history[version])
            apply(store, history[version], history[version + 1])
        os.write(say, b"done ")
        version += 1


def life_of_a_writer(folder: Path, history: History, seconds: float) -> list[str]:
    """What a writer said until it was killed after so many seconds."""
    listen, say = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            write_until_killed(folder, history, say)
        except BaseException:
            traceback.print_exc()
        os._exit(1)  # only an error leads here, and the parent asks how it ended
    os.close(say)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    with os.fdopen(listen) as words:
        said = words.read().split()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    return said


def check(store: LiveStore, items: Items) -> None:
    """The store holds these items and answers as a trie built of them."""
    snapshot = store.snapshot()
    trie = SidTrie.build(np.array(sids_of(items)), SIZES, list(items), scores_of(items))
    sids = trie.codes(np.arange(trie.num_sids))
    assert snapshot.num_items == len(items)
    assert snapshot.values("price", list(items)) == prices_of(items)["price"]
    for ours, theirs in zip(
        snapshot.items(snapshot.rank(sids)), trie.items(np.arange(trie.num_sids)), strict=True
    ):
        assert ours.tolist() == theirs.tolist()


def told(said: list[str], version: int, history: History) -> int:
    """The version that was acknowledged; fills in the items of those that were spoken of."""
    for word in said:
        if word == "gone":
            continue
        if word == "done":
            version += 1
        elif (target := int(word)) >= 0:
            history[version + 1] = history[target]
        else:
            history[version + 1] = items_after(version + 1, history[version])
    return version


@pytest.mark.parametrize("durability", ["process", "fsync"])
def test_what_was_acknowledged_survives_every_kill(tmp_path: Path, durability: str) -> None:
    folder = tmp_path / "store"
    items = {i: Item((i % 6, i % 5, i % 4)) for i in range(60)}
    LiveStore.create(
        folder,
        sids_of(items),
        SIZES,
        list(items),
        columns=prices_of(items),
        kinds={"price": "integer"},
        durability=durability,
    ).close()
    history, version, draw = {0: items}, 0, random.Random(0)
    for life in range(KILLS):
        seconds = draw.random() * MAX_SECONDS_TO_LIVE * (10 if life % 10 == 9 else 1)
        said = life_of_a_writer(folder, dict(history), seconds)
        acknowledged = told(said, version, history)
        in_doubt = said[-1:] not in ([], ["done"], ["gone"])
        with LiveStore.open(folder) as store:
            version = store.snapshot().version
            assert acknowledged <= version <= acknowledged + in_doubt
            check(store, history[version])
    assert version > 0
    with LiveStore.open(folder) as store:
        store.compact()
        check(store, history[version])
        assert len([path for path in folder.iterdir() if path.is_dir()]) <= 2
