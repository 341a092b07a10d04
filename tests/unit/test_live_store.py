"""The live store against a dict: every operation in any order, bad input, files in bad shape."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import onesearch_fast as osf
from onesearch_fast import col
from onesearch_fast.index import LiveStore, SidTrie, Snapshot
from onesearch_fast.ops import constrained_beam_step

SIZES = (4, 3, 2)
IDS = range(40)


@dataclass(frozen=True)
class Item:
    sid: tuple[int, ...]
    score: float
    price: float | None = None
    colour: str | None = None


Items = dict[int, Item]


def codes_of(items: Items) -> np.ndarray:
    rows = [item.sid for item in items.values()]
    return np.array(rows, dtype=np.int64).reshape(len(items), len(SIZES))


def scores_of(items: Items) -> list[float]:
    return [item.score for item in items.values()]


def columns_of(items: Items) -> dict[str, list[Any]]:
    values = items.values()
    return {"price": [one.price for one in values], "colour": [one.colour for one in values]}


def trie_of(items: Items) -> SidTrie:
    return SidTrie.build(codes_of(items), SIZES, list(items), scores_of(items))


def create(folder: Path, items: Items, **options: Any) -> LiveStore:
    return LiveStore.create(
        folder,
        codes_of(items),
        SIZES,
        list(items),
        scores_of(items),
        columns_of(items),
        kinds={"price": "real", "colour": "category"},
        **options,
    )


def every_sid() -> np.ndarray:
    return np.stack(np.meshgrid(*map(np.arange, SIZES), indexing="ij"), axis=-1).reshape(-1, 3)


def lists(values: np.ndarray, offsets: np.ndarray) -> list[list[int]]:
    return [values[begin:end].tolist() for begin, end in pairwise(offsets)]


def ids_of(snapshot: Snapshot) -> list[int]:
    """All ranks there are, whether an SID or not, list every item once."""
    ids, _ = snapshot.items(np.arange(snapshot.num_nodes(snapshot.num_levels)))
    return sorted(ids.tolist())


def check(snapshot: Snapshot, items: Items) -> None:
    """The snapshot answers what a trie freshly built of its items answers."""
    sids = every_sid()
    ranks = snapshot.rank(sids)
    held: dict[tuple[int, ...], list[int]] = {}
    if items:
        trie = trie_of(items)
        codes = trie.codes(np.arange(trie.num_sids))
        in_order = lists(*trie.items(np.arange(trie.num_sids)))
        held = dict(zip(map(tuple, codes.tolist()), in_order, strict=True))
    assert snapshot.num_items == len(items)
    assert snapshot.num_sids == len(held)
    assert snapshot.contains(sids).tolist() == [tuple(sid) in held for sid in sids.tolist()]
    assert lists(*snapshot.items(ranks)) == [held.get(tuple(sid), []) for sid in sids.tolist()]
    assert (snapshot.codes(ranks) == np.where(ranks[:, None] >= 0, sids, -1)).all()
    assert ids_of(snapshot) == sorted(items)
    expected = [list(items[i].sid) if i in items else [-1] * len(SIZES) for i in IDS]
    assert snapshot.item_codes(list(IDS)).tolist() == expected
    check_walk(snapshot, held)
    if snapshot.column_kinds:
        check_columns(snapshot, items)


def check_walk(snapshot: Snapshot, held: dict[tuple[int, ...], list[int]]) -> None:
    """Going down by `children` and `child` meets the prefixes of held SIDs, and nothing else."""
    nodes = {(): 0}
    for level in range(len(SIZES)):
        tokens, offsets = snapshot.children(level, list(nodes.values()))
        following = dict(zip(nodes, lists(tokens, offsets), strict=True))
        for prefix, allowed in following.items():
            wanted = {sid[level] for sid in held if sid[:level] == prefix}
            assert allowed == sorted(wanted)
        counts = snapshot.count_items(level, list(nodes.values()))
        below = [[len(ids) for sid, ids in held.items() if sid[:level] == p] for p in nodes]
        assert counts.tolist() == [sum(lengths) for lengths in below]
        nodes = {
            (*prefix, token): int(snapshot.child(level, [nodes[prefix]], [token])[0])
            for prefix, allowed in following.items()
            for token in allowed
        }
    assert sorted(nodes) == sorted(held)
    if held:
        assert snapshot.rank(list(nodes)).tolist() == list(nodes.values())


def check_columns(snapshot: Snapshot, items: Items) -> None:
    """Values and conditions on them are those of the items."""
    nobody = Item((), 0.0)
    for name, values in columns_of({i: items.get(i, nobody) for i in IDS}).items():
        assert snapshot.values(name, list(IDS)) == values
    allowed = snapshot.filter(where=(col("price") < 2) | (col("colour") == "red"))
    met = {i for i, one in items.items() if one.colour == "red" or (one.price or 2) < 2}
    assert allowed.contains(list(IDS)).tolist() == [i in met for i in IDS]
    assert allowed.num_allowed_items == len(met)
    sids = {items[i].sid for i in met}
    below = allowed.allows(len(SIZES), snapshot.rank(every_sid()))
    assert below.tolist() == [tuple(sid) in sids for sid in every_sid().tolist()]


sid = st.tuples(*(st.integers(0, size - 1) for size in SIZES))
prices = st.sampled_from([None, 0.5, 1.0, 2.0, 3.25])
colours = st.sampled_from([None, "red", "blue", "绿"])
item = st.builds(Item, sid, st.sampled_from([0.0, 1.0, -1.0, 0.5]), prices, colours)
batch = st.dictionaries(st.sampled_from(IDS), item, max_size=6)


class LiveStoreMachine(RuleBasedStateMachine):
    """A store, and the items of each of its versions."""

    @initialize(items=st.dictionaries(st.sampled_from(IDS), item, min_size=1, max_size=20))
    def create(self, items: Items) -> None:
        self.folder = Path(tempfile.mkdtemp()) / "store"
        self.store = create(self.folder, items)
        self.history = [items]
        self.held: list[tuple[Snapshot, Items]] = []

    def teardown(self) -> None:
        if hasattr(self, "store"):
            for snapshot, items in self.held:
                check(snapshot, items)
            self.store.close()
            shutil.rmtree(self.folder.parent)

    @property
    def items(self) -> Items:
        return self.history[-1]

    def moved_to(self, version: int, items: Items) -> None:
        # An update that is left without items makes no version.
        if version == len(self.history):
            self.history.append(items)
        assert version == len(self.history) - 1
        assert items == self.items

    @rule(items=batch)
    def insert(self, items: Items) -> None:
        fresh = {i: one for i, one in items.items() if i not in self.items}
        version = self.store.insert(
            list(fresh), codes_of(fresh), scores_of(fresh), columns_of(fresh)
        )
        self.moved_to(version, self.items | fresh)

    @rule(ids=st.sets(st.sampled_from(IDS), max_size=6))
    def delete(self, ids: set[int]) -> None:
        version = self.store.delete(sorted(ids), missing="ignore")
        self.moved_to(version, {i: one for i, one in self.items.items() if i not in ids})

    @rule(scores=st.dictionaries(st.sampled_from(IDS), st.floats(-2, 2, width=16), max_size=6))
    def update_scores(self, scores: dict[int, float]) -> None:
        known = {i: score for i, score in scores.items() if i in self.items}
        version = self.store.update_scores(list(known), list(known.values()))
        changed = {i: replace(self.items[i], score=score) for i, score in known.items()}
        self.moved_to(version, self.items | changed)

    @rule(changes=st.dictionaries(st.sampled_from(IDS), prices, max_size=6))
    def update_price(self, changes: dict[int, float | None]) -> None:
        version = self.store.update_attributes(
            list(changes), {"price": list(changes.values())}, missing="ignore"
        )
        known = {i: price for i, price in changes.items() if i in self.items}
        changed = {i: replace(self.items[i], price=price) for i, price in known.items()}
        self.moved_to(version, self.items | changed)

    @rule(changes=st.dictionaries(st.sampled_from(IDS), colours, min_size=1, max_size=6))
    def update_colour(self, changes: dict[int, str | None]) -> None:
        known = {i: colour for i, colour in changes.items() if i in self.items}
        version = self.store.update_attributes(list(known), {"colour": list(known.values())})
        changed = {i: replace(self.items[i], colour=colour) for i, colour in known.items()}
        self.moved_to(version, self.items | changed)

    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        known = [version for part in self.store.versions() for version in part]
        version = data.draw(st.sampled_from(known))
        self.moved_to(self.store.rollback(version), self.history[version])

    @rule()
    def compact(self) -> None:
        generation = self.store.snapshot().generation
        done = self.store.compact()
        assert (self.store.snapshot().generation > generation) == done

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = LiveStore.open(self.folder)
        assert self.store.torn_bytes == 0

    @precondition(lambda self: len(self.held) < 5)
    @rule()
    def hold(self) -> None:
        self.held.append((self.store.snapshot(), self.items))

    @invariant()
    def equals_a_built_trie(self) -> None:
        snapshot = self.store.snapshot()
        assert snapshot.version == len(self.history) - 1
        check(snapshot, self.items)

    @invariant()
    def held_snapshots_stay(self) -> None:
        for snapshot, items in self.held[-1:]:
            check(snapshot, items)


TestLiveStore = LiveStoreMachine.TestCase
TestLiveStore.settings = settings(max_examples=100, stateful_step_count=20)


ITEMS: Items = {i: Item((i % 4, i % 3, i % 2), i / 8) for i in range(30)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> Iterator[LiveStore]:
    with create(folder, ITEMS) as store:
        yield store


def test_defaults(folder: Path) -> None:
    with LiveStore.create(folder, [[1, 2, 0], [1, 2, 0], [3, 0, 1]], SIZES) as store:
        check(
            store.snapshot(), {i: Item(s, 0) for i, s in enumerate([(1, 2, 0)] * 2 + [(3, 0, 1)])}
        )
        assert store.insert([7], [[0, 0, 0]]) == 1
        assert (store.durability, store.folder) == ("process", str(folder))
        assert repr(store.snapshot()) == "Snapshot(version 1, 4 items, 3 SIDs)"
        assert repr(store) == f"LiveStore({str(folder)!r}, {store.snapshot()!r})"


def test_any_integer_dtype_and_layout(store: LiveStore) -> None:
    codes = np.zeros((2, 6), dtype=np.uint8)[:, ::2]
    version = store.insert(np.array([50, 51], dtype=np.uint16), codes, np.array([1, 2]))
    version = store.delete(np.arange(50, 52)[::-1])
    assert store.snapshot().rank(np.array([[2**63 + 5, 0, 0]], dtype=np.uint64)).tolist() == [-1]
    assert version == 2


BAD_UPDATES = {
    "insert a held id": (
        lambda s: s.insert([50, 3], [[0, 0, 0]] * 2),
        "LiveStore.insert: item_ids: expected ids that the store does not hold, got 3",
    ),
    "insert an id twice": (
        lambda s: s.insert([50, 50], [[0, 0, 0]] * 2),
        "LiveStore.insert: item_ids: expected distinct ids, got 50 twice",
    ),
    "a negative id": (lambda s: s.insert([-1], [[0, 0, 0]]), "ids of at least 0, got -1"),
    "an id past int64": (lambda s: s.delete([2**63]), "integers below 2\\^63"),
    "insert an id past int64": (lambda s: s.insert([2**63], [[0, 0, 0]]), "integers below 2\\^63"),
    "insert a score that is no number": (
        lambda s: s.insert([50], [[0, 0, 0]], [float("nan")]),
        "LiveStore.insert: scores: expected finite float32 numbers, got nan at row 0",
    ),
    "a code out of range": (
        lambda s: s.insert([50, 51], [[0, 0, 0], [0, 3, 0]]),
        r"codes: expected integers in \[0, 3\) at level 1, got 3 at row 1",
    ),
    "a negative code": (lambda s: s.insert([50], [[0, 0, -1]]), "got -1 at row 0"),
    "too few levels": (lambda s: s.insert([50], [[0, 0]]), r"expected shape \[1, 3\]"),
    "too few rows": (lambda s: s.insert([50, 51], [[0, 0, 0]]), r"expected shape \[2, 3\]"),
    "too few scores": (
        lambda s: s.insert([50, 51], [[0, 0, 0]] * 2, [1.0]),
        r"LiveStore.insert: scores: expected shape \[2\], got \[1\]",
    ),
    "a score that is no number": (
        lambda s: s.update_scores([3, 4], [1.0, float("nan")]),
        "LiveStore.update_scores: scores: expected finite float32 numbers, got nan at row 1",
    ),
    "a score past float32": (lambda s: s.update_scores([3], [1e39]), r"got 1e\+39 at row 0"),
    "an unknown column": (
        lambda s: s.update_attributes([3], {"size": [1]}),
        "LiveStore.update_attributes: columns: expected columns of the store: price, colour, got",
    ),
    "no column": (lambda s: s.update_attributes([3], {}), "a dict of at least one column"),
    "too few values": (
        lambda s: s.insert([50], [[0, 0, 0]], columns={"price": []}),
        r"LiveStore.insert: columns\['price'\]: expected 1 values, one an item, got 0",
    ),
    "attributes of an unknown id": (
        lambda s: s.update_attributes([3, 50], {"price": [1.0, 2.0]}),
        "the store holds, got 50",
    ),
    "delete an unknown id": (
        lambda s: s.delete([3, 50]),
        "LiveStore.delete: item_ids: expected ids that the store holds, got 50; insert it, or",
    ),
    "delete an id twice": (lambda s: s.delete([3, 3]), "distinct ids, got 3 twice"),
    "score an unknown id": (lambda s: s.update_scores([50], [1.0]), "the store holds, got 50"),
    "another word for missing": (lambda s: s.delete([3], missing="skip"), "'error' or 'ignore'"),
    "a version to come": (lambda s: s.rollback(1), "LiveStore.rollback: version: expected one of"),
}


@pytest.mark.parametrize("name", BAD_UPDATES)
def test_bad_updates_change_nothing(store: LiveStore, name: str) -> None:
    update, message = BAD_UPDATES[name]
    with pytest.raises(ValueError, match=message):
        update(store)
    assert store.snapshot().version == 0
    check(store.snapshot(), ITEMS)
    assert store.delete([3]) == 1


def test_types_are_named(store: LiveStore, folder: Path) -> None:
    with pytest.raises(TypeError, match=r"LiveStore.insert: item_ids: expected an integer dtype"):
        store.insert([0.5], [[0, 0, 0]])
    with pytest.raises(TypeError, match=r"LiveStore.update_scores: scores: expected a real dtype"):
        store.update_scores([3], ["high"])
    with pytest.raises(TypeError, match=r"columns\['colour'\]: expected values of kind category"):
        store.update_attributes([3], {"colour": [5]})
    with pytest.raises(
        TypeError, match=r"Snapshot.filter: allow: expected an integer dtype, got b"
    ):
        store.snapshot().filter(allow=np.ones(30, dtype=bool))
    for make in (LiveStore, Snapshot):
        with pytest.raises(TypeError, match=make.__name__):
            make()
    for options in ({"durability": "none"}, {"compact_after": 0}, {"item_scores": [1.0]}):
        with pytest.raises(ValueError, match=next(iter(options))):
            LiveStore.create(folder.parent / "new", [[0, 0, 0]] * 2, SIZES, **options)
    assert not (folder.parent / "new").exists()


def test_codes_out_of_range_make_no_store(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"at level 2, got 2 at row 1"):
        LiveStore.create(folder, [[0, 0, 0], [0, 0, 2]], SIZES)
    assert not folder.exists()


def test_a_folder_in_use(store: LiveStore, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"LiveStore.open: folder: expected a store that nobody"):
        LiveStore.open(folder)
    code = f"import onesearch_fast as osf; osf.LiveStore.open({str(folder)!r})"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "expected a store that nobody has open" in other.stderr
    store.close()
    with pytest.raises(FileExistsError):
        LiveStore.create(folder, [[0, 0, 0]], SIZES)
    LiveStore.open(folder).close()


def test_folders_that_are_no_store(tmp_path: Path) -> None:
    with pytest.raises(osf.LiveStoreFormatError, match=r"a live store, got a folder without a jou"):
        LiveStore.open(tmp_path)
    with pytest.raises(FileNotFoundError):
        LiveStore.open(tmp_path / "nothing")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        LiveStore.open(tmp_path / "file")
    for path in (tmp_path / "file", Path("/proc/store")):
        with pytest.raises(OSError, match=path.name):
            LiveStore.create(path, [[0, 0, 0]], SIZES)


def test_a_closed_store(folder: Path) -> None:
    with create(folder, ITEMS) as store:
        snapshot = store.snapshot()
    for change in (lambda: store.delete([3]), lambda: store.rollback(0), store.compact):
        with pytest.raises(ValueError, match="a closed one"):
            change()
    check(snapshot, ITEMS)
    check(store.snapshot(), ITEMS)
    store.close()


def test_a_forked_child_may_read_but_not_write(store: LiveStore) -> None:
    child = os.fork()
    if child == 0:
        try:
            store.delete([3])
        except ValueError as error:
            os._exit(0 if "inherited" in str(error) and store.snapshot().num_items == 30 else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert store.delete([3]) == 1


def test_a_missing_or_altered_generation(store: LiveStore, folder: Path) -> None:
    store.delete([3])
    store.close()
    trie = folder / "generation-1" / "trie.bin"
    whole = trie.read_bytes()
    trie.write_bytes(whole[:-64] + b"x" + whole[-63:])
    with pytest.raises(osf.TrieFormatError):
        LiveStore.open(folder)
    trie.unlink()
    with pytest.raises(FileNotFoundError):
        LiveStore.open(folder)
    trie.write_bytes(whole)
    with LiveStore.open(folder) as store:
        assert store.snapshot().version == 1


def test_what_a_dead_process_left_unfinished_is_removed(store: LiveStore, folder: Path) -> None:
    store.delete([3])
    store.compact()
    store.close()
    files = sorted(path.name for path in folder.iterdir())
    shutil.copytree(folder / "generation-2", folder / "generation-3")
    (folder / "journal-of-generation-3.tmp").write_bytes(b"half a jour")
    LiveStore.open(folder).close()
    assert sorted(path.name for path in folder.iterdir()) == files


def test_compaction_in_the_background(folder: Path) -> None:
    items = dict(ITEMS)
    with create(folder, items, compact_after=20) as store:
        for i in range(100, 150):
            items[i] = Item((i % 4, i % 3, 1), 1.0)
            store.insert([i], codes_of({i: items[i]}), [1.0])
        store.wait_for_compaction()
        assert store.snapshot().generation > 1
        assert store.snapshot().version == 50
        assert store.snapshot().num_items == len(items)
    with LiveStore.open(folder) as store:
        assert sorted(
            store.snapshot().items(np.arange(store.snapshot().num_nodes(3)))[0]
        ) == sorted(items)


def test_scores_that_are_all_0_are_not_kept(tmp_path: Path) -> None:
    codes = codes_of(ITEMS)
    tries = []
    for name, scores in (("without", None), ("zeros", np.zeros(len(ITEMS)))):
        with LiveStore.create(tmp_path / name, codes, SIZES, item_scores=scores):
            tries.append((tmp_path / name / "generation-1" / "trie.bin").read_bytes())
    assert tries[0] == tries[1]


def test_every_item_gone_and_back(store: LiveStore) -> None:
    store.delete(list(ITEMS))
    check(store.snapshot(), {})
    assert not store.compact()
    assert store.snapshot().filter().num_allowed_items == 0
    store.insert(list(ITEMS), codes_of(ITEMS), scores_of(ITEMS))
    assert store.compact()
    check(store.snapshot(), ITEMS)


def test_filters_of_a_snapshot(store: LiveStore) -> None:
    store.delete([0, 1, 2])
    store.insert([50, 51], [[0, 0, 0], [3, 2, 1]])
    snapshot = store.snapshot()
    allowed = snapshot.filter(allow=[0, 3, 4, 50, 99], deny=[4])
    assert allowed.num_allowed_items == 2
    assert allowed.num_unknown_ids == 2
    assert allowed.contains([0, 3, 4, 50, 51]).tolist() == [False, True, False, True, False]
    ranks = snapshot.rank([[3 % 4, 3 % 3, 3 % 2], [0, 0, 0], [0, 1, 0], [3, 2, 1]])
    assert allowed.allows(3, ranks).tolist() == [True, True, False, False]
    assert allowed.trie is snapshot


def test_a_store_without_columns(folder: Path) -> None:
    with LiveStore.create(folder, [[1, 2, 0]], SIZES) as store:
        snapshot = store.snapshot()
        assert (snapshot.column_kinds, snapshot.values("price", [0])) == ({}, [None])
        with pytest.raises(ValueError, match=r"Snapshot.filter: where: expected a store with col"):
            snapshot.filter(where=col("price") < 2)
        with pytest.raises(ValueError, match=r"columns of the store: none, got price"):
            store.insert([7], [[0, 0, 0]], columns={"price": [1.0]})


def test_values_and_conditions_of_a_snapshot(store: LiveStore) -> None:
    with pytest.raises(ValueError, match="size"):
        store.snapshot().filter(where=col("size") < 2)
    store.update_attributes([3, 4], {"price": np.array([7, 8])})
    assert store.snapshot().values("price", [3, 4, 5, 99]) == [7.0, 8.0, None, None]
    assert store.snapshot().column_kinds == {"price": "real", "colour": "category"}


def test_what_an_expression_lets_through_of_a_generation_is_kept(store: LiveStore) -> None:
    cache = osf.FilterCache()
    store.update_attributes([3, 4], {"price": [1.0, 5.0]})
    for price, expected in ((1.5, [3]), (1.25, [3]), (9.0, [])):
        store.update_attributes([3], {"price": [price]})
        cheap = cache.filter(store.snapshot(), where=col("price") < 2)
        assert np.flatnonzero(cheap.contains(range(30))).tolist() == expected
    assert (cache.statistics.misses, cache.statistics.hits) == (1, 2)
    store.compact()
    cache.filter(store.snapshot(), where=col("price") < 2)
    assert cache.statistics.misses == 2


def test_many_small_batches_of_attributes(store: LiveStore, folder: Path) -> None:
    items = dict(ITEMS)
    for turn in range(200):
        first, second = turn % 30, (turn * 7 + 1) % 29
        if turn % 3 == 0:
            store.update_attributes([first], {"colour": [f"colour {turn}"]})
            items[first] = replace(items[first], colour=f"colour {turn}")
        elif first != second:
            store.update_attributes([first, second], {"price": [turn, None]})
            items[first] = replace(items[first], price=float(turn))
            items[second] = replace(items[second], price=None)
        if turn % 40 == 0:
            check(store.snapshot(), items)
    store.close()
    with LiveStore.open(folder) as store:
        check(store.snapshot(), items)


def test_versions_of_the_last_two_generations(store: LiveStore) -> None:
    for _ in range(3):
        ids = ids_of(store.snapshot())
        store.delete(ids[:1])
        store.delete(ids[1:2])
        assert store.compact()
    assert store.versions() == [range(4, 7)]
    assert store.rollback(4) == 7
    assert store.versions() == [range(4, 8)]
    assert store.snapshot().generation == 3


def test_many_threads(folder: Path) -> None:
    wrong: list[str] = []
    finished = threading.Event()

    def write(writer: int) -> None:
        ids = np.arange(10) + 1000 * (writer + 1)
        for turn in range(30):
            store.insert(ids, np.full((10, 3), [turn % 4, writer % 3, turn % 2]))
            store.delete(ids)

    def read() -> None:
        last = 0
        while not finished.is_set():
            snapshot = store.snapshot()
            if snapshot.version < last or snapshot.num_items % 10:
                wrong.append(repr(snapshot))
            last = snapshot.version

    with create(folder, ITEMS, compact_after=10) as store:
        readers = [threading.Thread(target=read) for _ in range(2)]
        writers = [threading.Thread(target=write, args=(i,)) for i in range(3)]
        for thread in (*readers, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        finished.set()
        for thread in readers:
            thread.join()
        assert wrong == []
        assert store.snapshot().version == 180
        check(store.snapshot(), ITEMS)


def run_python(script: str, folder: Path) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split("\n")[:-1]


FULL_DISK = """
import resource, signal, sys
import numpy as np
import onesearch_fast as osf
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = osf.LiveStore.open(sys.argv[1])
before = store.snapshot()
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, resource.RLIM_INFINITY))
failures = 0
for start in range(1000, 4000, 100):
    try:
        store.insert(np.arange(start, start + 100), np.zeros((100, 3), dtype=int))
    except OSError:
        failures += 1
        assert store.snapshot().num_items == held
    held = store.snapshot().num_items
    assert store.snapshot().version == (held - 30) // 100
assert failures > 10
assert before.num_items == 30
try:
    store.compact()
    raise SystemExit("compacted on a full disk")
except OSError:
    pass
store.delete([3])
print(store.snapshot().num_items)
"""


def test_a_full_disk(store: LiveStore, folder: Path) -> None:
    store.close()
    held = run_python(FULL_DISK, folder)
    with LiveStore.open(folder) as store:
        assert store.snapshot().num_items == int(held[0])
        assert store.torn_bytes == 0
        assert not (folder / "generation-2").exists()


NO_ROOM_TO_CREATE = """
import resource, signal, sys
from pathlib import Path
import numpy as np
import onesearch_fast as osf
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
codes = np.zeros((3000, 3), dtype=int)
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 10, limit[1]))
try:
    osf.LiveStore.create(sys.argv[1], codes, (4, 3, 2))
except OSError:
    print(sorted(path.name for path in Path(sys.argv[1]).iterdir()))
resource.setrlimit(resource.RLIMIT_FSIZE, limit)
print(osf.LiveStore.create(sys.argv[1], codes, (4, 3, 2)).snapshot().num_items)
"""


def test_a_disk_without_room_for_a_new_store(folder: Path) -> None:
    assert run_python(NO_ROOM_TO_CREATE, folder) == ["['lock']", "3000"]


READ_ONLY_FOLDER = """
import os, sys
import onesearch_fast as osf
os.chdir(sys.argv[1] + "/..")
store = osf.LiveStore.open("store")
os.chmod(".", 0o755)
os.chmod("store", 0o555)
if os.geteuid() == 0:
    os.setuid(65534)  # root writes anywhere
store.insert([50], [[0, 0, 0]])
for change in (store.compact, lambda: osf.LiveStore.create("store/new", [[0, 0, 0]], (4, 3, 2))):
    try:
        change()
    except PermissionError as error:
        print(error.filename)
store.delete([3])
print(store.snapshot().num_items, store.snapshot().version)
"""


def test_a_folder_that_became_read_only(store: LiveStore, folder: Path) -> None:
    store.close()
    assert run_python(READ_ONLY_FOLDER, folder) == ["store/generation-2", "store/new", "30 2"]
    folder.chmod(0o755)
    with LiveStore.open(folder) as store:
        assert store.snapshot().version == 2


def test_filters_of_another_version_are_refused(store: LiveStore) -> None:
    old = store.snapshot()
    store.delete([3])
    logits, node = torch.zeros(1, 1, SIZES[0]), torch.zeros(1, 1, dtype=torch.int32)
    for snapshot, of in ((store.snapshot(), old), (old, store.snapshot())):
        with pytest.raises(ValueError, match="filter: expected a filter of this trie"):
            constrained_beam_step(
                logits, node, torch.zeros(1, 1), snapshot, 4, 0, filter=of.filter(allow=[4])
            )
    nothing = old.filter(allow=[])
    step = constrained_beam_step(logits, node, torch.zeros(1, 1), old, 4, 0, filter=nothing)
    assert step.count.tolist() == [0]
