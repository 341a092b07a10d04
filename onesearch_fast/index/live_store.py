"""A catalogue that changes while searches run: inserts, deletes, new scores, new attributes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, NoReturn

import numpy as np
import numpy.typing as npt

from onesearch_fast import _C
from onesearch_fast.errors import invalid
from onesearch_fast.files import path_bytes
from onesearch_fast.index._arrays import code_rows, finite32, float_vector, index_vector
from onesearch_fast.index.catalogue import Catalogue
from onesearch_fast.index.column_rows import column_rows
from onesearch_fast.index.expressions import Condition
from onesearch_fast.index.item_columns import ItemColumns
from onesearch_fast.index.item_filter import ItemFilter
from onesearch_fast.index.predicates import Kind
from onesearch_fast.index.sid_trie import SidTrie

Missing = Literal["error", "ignore"]
Durability = Literal["process", "fsync"]


class Snapshot(Catalogue):
    """One version of a `LiveStore`, for as long as it is held; make one with `LiveStore.snapshot`.

    It answers what a `SidTrie` freshly built of its living items would answer, under other node
    numbers: those of one version mean nothing in another. Of a rank whose items are all gone
    nothing is left but its number.
    """

    __slots__ = ()

    _handle: _C.Snapshot

    def __init__(self, *_: NoReturn, **__: NoReturn) -> None:
        raise TypeError("Snapshot: expected store.snapshot(), got Snapshot()")

    @classmethod
    def _own(cls, handle: _C.Snapshot) -> Snapshot:
        snapshot = object.__new__(cls)
        snapshot._handle = handle
        return snapshot

    @property
    def version(self) -> int:
        """Number of updates that led here; equal versions of a store have equal content."""
        return self._handle.version

    @property
    def generation(self) -> int:
        """Number of the compaction whose trie lies under this version."""
        return self._handle.generation

    def count_items(self, level: int, nodes: Any) -> npt.NDArray[np.int64]:
        """int64 [n]: the items below each of `nodes` [n] of `level`, 0 to num_levels."""
        return self._handle.count_items(level, index_vector("Snapshot.count_items", "nodes", nodes))

    @property
    def column_kinds(self) -> dict[str, Kind]:
        """Name -> kind of the store's columns, as of `ItemColumns.kinds`."""
        base = self._handle.base_columns()
        return {} if base is None else base.kinds

    def values(self, name: str, item_ids: Any) -> list[Any]:
        """What column `name` holds for each item [n]: None for a missing value or item."""
        positions = self._handle.positions(index_vector("Snapshot.values", "item_ids", item_ids))
        values: list[Any] = [None] * len(positions)
        for columns, first in self._parts_of_columns():
            here = (positions >= first) & (positions < first + columns.num_items)
            for row, value in zip(
                np.flatnonzero(here), columns.values(name, positions[here] - first), strict=True
            ):
                values[row] = value
        return values

    def filter(
        self, allow: Any = None, deny: Any = None, where: Condition | str | None = None
    ) -> ItemFilter:
        """The filter that lets through items of `allow` that meet `where`, but for those of `deny`.

        It serves this snapshot alone; `FilterCache` keeps what an expression lets through of a
        generation, so that after an update only what was inserted since is looked at.

        Args:
            allow, deny: item ids, integers [n]. Ids that the snapshot does not hold match nothing;
                `ItemFilter.num_unknown_ids` counts them. Default: all items, and none.
            where: an expression over the columns of the store, as `col("price") < 5`.

        Raises:
            ValueError: an unknown column.
            TypeError: a comparison that a column's kind does not have.
        """
        return ItemFilter._make(self, allow, deny, where)

    def _parts_of_columns(self) -> list[tuple[_C.ItemColumns, int]]:
        """Columns of the base and of the overlay, and the position of the first item of each."""
        base, overlay = self._handle.base_columns(), self._handle.overlay_columns()
        if base is None:
            return []
        return [(base, 0)] if overlay is None else [(base, 0), (overlay, base.num_items)]

    def _columns_of_filter(self, columns: ItemColumns | None) -> tuple[ItemColumns, ...]:
        if columns is not None:
            remedy = "a live store has its own"
            raise invalid("Snapshot.filter", "columns", "none", type(columns), remedy, TypeError)
        parts = self._parts_of_columns()
        if not parts:
            remedy = "create it with columns"
            raise invalid("Snapshot.filter", "where", "a store with columns", "none", remedy)
        return tuple(ItemColumns._own(part) for part, _ in parts)

    def __repr__(self) -> str:
        return f"Snapshot(version {self.version}, {self.num_items} items, {self.num_sids} SIDs)"


class LiveStore:
    """A catalogue in a folder, which takes updates while searches run.

    Every update is a batch: it is checked, written to a journal, applied whole, and visible in
    `snapshot()` before the call returns its version. What was returned survives the end of the
    process, however that ends; with durability "fsync" it survives a power failure too.

    Readers never wait: a snapshot stays as it is for as long as it is held. Writers take turns,
    from any number of threads, and those that wait share one write. One store opens a folder at a
    time.
    """

    __slots__ = ("_folder", "_handle", "_level_sizes")

    _folder: str
    _handle: _C.LiveStore
    _level_sizes: tuple[int, ...]

    def __init__(self, *_: NoReturn, **__: NoReturn) -> None:
        raise TypeError(
            "LiveStore: expected LiveStore.create(...) or LiveStore.open(...), got LiveStore()"
        )

    @classmethod
    def _own(cls, handle: _C.LiveStore, folder: str | os.PathLike[str]) -> LiveStore:
        store = object.__new__(cls)
        store._handle = handle
        store._folder = os.fspath(folder)
        store._level_sizes = handle.snapshot().level_sizes
        return store

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str],
        codes: Any,
        level_sizes: Sequence[int],
        item_ids: Any = None,
        item_scores: Any = None,
        columns: Mapping[str, Any] | None = None,
        kinds: Mapping[str, Kind] | None = None,
        durability: Durability = "process",
        compact_after: int | None = None,
    ) -> LiveStore:
        """Makes a store of a catalogue, as version 0.

        Args:
            folder: where to; made, or empty.
            codes, level_sizes, item_ids: as for `SidTrie.build`.
            item_scores: [num_items] finite priors, higher first inside one SID, kept as float32;
                default: all 0. Equal scores are ordered by a hash of the item id.
            columns, kinds: attributes for `Snapshot.filter`, as for `ItemColumns.build`. Names and
                kinds stay for the life of the store.
            durability: "process" writes each update before it is acknowledged; "fsync" also waits
                until the disk has it.
            compact_after: changed items (inserted since the last generation, or deleted from it)
                at which a new one is built in the background; default: a fiftieth of the items, at
                least 65,536.

        Raises:
            ValueError, TypeError: as `SidTrie.build` and `ItemColumns.build`.
            FileExistsError: a folder that is not empty.
            OSError: one that cannot be written; nothing is left in it.
        """
        where = "LiveStore.create"
        name = path_bytes(where, folder)
        limit = _limit(where, compact_after)
        if durability not in ("process", "fsync"):
            raise invalid(where, "durability", "'process' or 'fsync'", durability)
        scores = None if item_scores is None else _scores(where, "item_scores", item_scores)
        # Scores that are all 0 are as good as none, and a compaction keeps none either.
        keep = scores is not None and bool(scores.any())
        trie = SidTrie.build(codes, level_sizes, item_ids, scores, keep_scores=keep)
        held = ItemColumns.build(trie, columns, kinds)._handle if columns else None
        fsync = durability == "fsync"
        return cls._own(_C.LiveStore.create(name, trie._handle, held, fsync, limit), folder)

    @classmethod
    def open(
        cls, folder: str | os.PathLike[str], verify: bool = True, compact_after: int | None = None
    ) -> LiveStore:
        """Opens a store at its last acknowledged update.

        The journal is always verified. With `verify` every byte of the generation under it is as
        well, as by `SidTrie.load`. A last record that the end of a process left half written was
        not acknowledged, and is cut off; `torn_bytes` says how much that was.

        Raises:
            LiveStoreFormatError: a folder that is no store, or a journal that is altered before its
                last record.
            TrieFormatError: a generation that is altered.
            ValueError: a store that is open, here or in another process.
            OSError: a folder that cannot be read or written.
        """
        where = "LiveStore.open"
        name = path_bytes(where, folder)
        return cls._own(_C.LiveStore.open(name, verify, _limit(where, compact_after)), folder)

    def close(self) -> None:
        """Ends updates and frees the folder; a compaction that runs is given up.

        Snapshots stay as they are.
        """
        self._handle.close()

    def __enter__(self) -> LiveStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def folder(self) -> str:
        """Where the store is."""
        return self._folder

    @property
    def durability(self) -> Durability:
        """What acknowledged updates survive: the end of the "process", or ("fsync") of power."""
        return "fsync" if self._handle.fsync else "process"

    @property
    def torn_bytes(self) -> int:
        """Bytes of a half-written record that `open` cut off."""
        return self._handle.torn_bytes

    def snapshot(self) -> Snapshot:
        """The latest version. Never waits, neither for writers nor for a compaction."""
        return Snapshot._own(self._handle.snapshot())

    def insert(
        self,
        item_ids: Any,
        codes: Any,
        scores: Any = None,
        columns: Mapping[str, Any] | None = None,
    ) -> int:
        """Adds items; returns the new version.

        Args:
            item_ids: [n] distinct ids of at least 0 that the store does not hold.
            codes: [n, num_levels] integers, each within its level.
            scores: [n] finite priors, kept as float32; default: 0.
            columns: name -> values [n]; those that are not given are missing.

        Raises:
            ValueError: an id that the store holds, a code out of range, a NaN, an unknown column;
                nothing changes.
            TypeError: values of another kind than the column's.
            OSError: the journal cannot be written; nothing changes.

        Cost: linear in the items inserted since the last generation and in n.
        """
        where = "LiveStore.insert"
        ids = index_vector(where, "item_ids", item_ids)
        rows = code_rows(where, codes, len(self._level_sizes), f"{len(ids)}")
        if len(rows) != len(ids):
            expected = f"shape [{len(ids)}, {len(self._level_sizes)}]"
            raise invalid(where, "codes", expected, list(rows.shape))
        priors = np.zeros(len(ids), dtype=np.float32)
        if scores is not None:
            priors = _scores_of(where, scores, ids)
        return self._handle.insert(ids, rows, priors, self._rows_of(where, columns, len(ids)))

    def delete(self, item_ids: Any, missing: Missing = "error") -> int:
        """Takes items away; returns the new version, or the present one if there is nothing to do.

        Args:
            item_ids: [n] distinct ids.
            missing: what to do about ids that the store does not hold: "error" raises ValueError
                naming the first, "ignore" passes them over.

        Cost: a look-up an item, and a copy of the table of chunks (12 bytes for 65,536 items) and
        of each chunk that holds one.
        """
        where = "LiveStore.delete"
        return self._handle.delete(
            index_vector(where, "item_ids", item_ids), _ignores(where, missing)
        )

    def update_scores(self, item_ids: Any, scores: Any, missing: Missing = "error") -> int:
        """Gives items new priors `scores` [n]; returns the new version.

        Errors and `missing` as for `delete`, cost as for `insert`.
        """
        where = "LiveStore.update_scores"
        ids = index_vector(where, "item_ids", item_ids)
        return self._handle.update_scores(
            ids, _scores_of(where, scores, ids), _ignores(where, missing)
        )

    def update_attributes(
        self, item_ids: Any, columns: Mapping[str, Any], missing: Missing = "error"
    ) -> int:
        """Gives items new values in `columns`, name -> values [n]; returns the new version.

        Other columns keep theirs. Errors and `missing` as for `insert` and `delete`, cost as for
        `insert`.
        """
        where = "LiveStore.update_attributes"
        ids = index_vector(where, "item_ids", item_ids)
        if not columns:
            raise invalid(where, "columns", "a dict of at least one column", columns)
        rows = self._rows_of(where, columns, len(ids))
        return self._handle.update_attributes(ids, rows, _ignores(where, missing))

    def _rows_of(
        self, where: str, columns: Mapping[str, Any] | None, num_items: int
    ) -> _C.ItemColumns | None:
        if not columns:
            return None
        kinds = self.snapshot().column_kinds
        for name in columns:
            if name not in kinds:
                expected = f"columns of the store: {', '.join(kinds) or 'none'}"
                raise invalid(where, "columns", expected, name)
        return _C.ItemColumns.build(num_items, column_rows(where, columns, num_items, kinds), None)

    def rollback(self, version: int) -> int:
        """Makes a new version with the content of an earlier one; returns the new version.

        Raises ValueError for one that `versions()` does not name.

        Cost: as opening the store. Updates wait meanwhile, readers do not.
        """
        return self._handle.rollback(version)

    def versions(self) -> list[range]:
        """What `rollback` can return to: all versions since the compaction before the last."""
        return [range(first, last + 1) for first, last in self._handle.versions()]

    def compact(self) -> bool:
        """Builds a new generation of the living items now; content and version stay as they are.

        Searches and updates go on meanwhile. False when there was nothing to do, or a rollback came
        in between. The store does this by itself in the background, as `compact_after` says.
        """
        return self._handle.compact()

    def wait_for_compaction(self) -> None:
        """Returns once no compaction runs in the background; raises what the last one failed with.

        A failed compaction changes nothing, and is tried again when twice as much has changed.
        """
        self._handle.wait_for_compaction()

    def __repr__(self) -> str:
        return f"LiveStore({self._folder!r}, {self.snapshot()!r})"


def _scores(where: str, argument: str, values: Any) -> npt.NDArray[np.float32]:
    return finite32(where, argument, float_vector(where, argument, values))


def _scores_of(where: str, values: Any, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    scores = _scores(where, "scores", values)
    if scores.shape != ids.shape:
        raise invalid(where, "scores", f"shape [{len(ids)}]", list(scores.shape))
    return scores


def _ignores(where: str, missing: Missing) -> bool:
    if missing not in ("error", "ignore"):
        raise invalid(where, "missing", "'error' or 'ignore'", missing)
    return missing == "ignore"


def _limit(where: str, compact_after: int | None) -> int:
    if compact_after is None:
        return 0
    if not isinstance(compact_after, int) or compact_after < 1:
        raise invalid(where, "compact_after", "an integer of at least 1", compact_after)
    return compact_after
