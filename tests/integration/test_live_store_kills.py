"""A writer killed without warning, hundreds of times: what it acknowledged is there, whole.

The writer says what it is about to do, does it, and says when that is acknowledged. After each kill
the store must open at the last acknowledged update or, when the kill fell between the write and the
word of it, at the one after. ONESEARCH_KILLS sets how often.
"""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from pathlib import Path

import numpy as np
import pytest

from onesearch_fast.index import LiveStore, SidTrie

KILLS = int(os.environ.get("ONESEARCH_KILLS", "150"))
MAX_SECONDS_TO_LIVE = 0.02
COMPACT_AFTER = 40
SIZES = (6, 5, 4)

Sid = tuple[int, ...]
Items = dict[int, tuple[Sid, float]]
History = dict[int, Items]  # version -> its items


def items_after(version: int, items: Items) -> Items:
    """What the update that makes `version` leaves of `items`: it follows from the two alone."""
    draw = random.Random(version)
    some = draw.sample(sorted(items), min(len(items), 6))
    kind = draw.choice(["insert", "insert", "delete", "score"])
    if kind == "delete" and len(items) > 20:
        return {i: item for i, item in items.items() if i not in some}
    if kind == "score" and some:
        return items | {i: (items[i][0], items[i][1] + 1 + draw.randrange(3)) for i in some}
    fresh = {*draw.sample(range(300), 8)} - {*items} or {1000 + version}
    sids = {i: tuple(draw.randrange(size) for size in SIZES) for i in sorted(fresh)}
    return items | {i: (sid, float(draw.randrange(3))) for i, sid in sids.items()}


def apply(store: LiveStore, before: Items, after: Items) -> None:
    """The one update that leads from one to the other."""
    gone = [i for i in before if i not in after]
    fresh = [i for i in after if i not in before]
    if gone:
        store.delete(gone)
    elif fresh:
        store.insert(fresh, [after[i][0] for i in fresh], [after[i][1] for i in fresh])
    else:
        changed = [i for i in after if after[i] != before[i]]
        store.update_scores(changed, [after[i][1] for i in changed])


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
    codes = np.array([sid for sid, _ in items.values()])
    trie = SidTrie.build(codes, SIZES, list(items), [score for _, score in items.values()])
    sids = trie.codes(np.arange(trie.num_sids))
    assert snapshot.num_items == len(items)
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
    items: Items = {i: ((i % 6, i % 5, i % 4), 0.0) for i in range(60)}
    codes = [sid for sid, _ in items.values()]
    LiveStore.create(folder, codes, SIZES, list(items), durability=durability).close()
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
