"""The trie of semantic IDs: which token sequences are items, and which items they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from onesearch_fast import _C
from onesearch_fast.errors import invalid
from onesearch_fast.files import path_bytes, readable_file, writable_file
from onesearch_fast.index._arrays import finite32, float_vector, index_vector, item_set
from onesearch_fast.index.catalogue import Catalogue
from onesearch_fast.index.catalogue_rows import CatalogueRows
from onesearch_fast.index.expressions import Condition
from onesearch_fast.index.item_columns import ItemColumns
from onesearch_fast.index.item_filter import ItemFilter
from onesearch_fast.index.section_bytes import SectionBytes

_SAVED = "name the file that SidTrie.save wrote, such as sid_trie.bin of a served folder"
# In the order of the native core's NodeStatistic::Kind.
_STATISTICS = ("count", "sum", "mean", "max", "quantile")


class SidTrie(Catalogue):
    """An immutable trie over the semantic IDs (SIDs) of a catalogue; several items may share a SID.

    Nodes are numbered per level: the root is node 0 of level 0, and edge e of level l is node e of
    level l + 1, so children are contiguous and sorted by token. A node of the last level is the
    SID's *rank*: ranks [0, num_sids) number the distinct SIDs in lexicographic order, and every
    subtree is a contiguous range of ranks.

    Objects are safe to share between threads. Make one with `build` or `load`.
    """

    __slots__ = ()

    _handle: _C.SidTrie

    def __init__(self, *_: NoReturn, **__: NoReturn) -> None:
        raise TypeError("SidTrie: expected SidTrie.build(...) or SidTrie.load(...), got SidTrie()")

    @classmethod
    def _own(cls, handle: _C.SidTrie) -> SidTrie:
        trie = object.__new__(cls)
        trie._handle = handle
        return trie

    @classmethod
    def build(
        cls,
        codes: Any,
        level_sizes: Sequence[int],
        item_ids: Any = None,
        item_scores: Any = None,
        keep_scores: bool = False,
    ) -> SidTrie:
        """Builds the trie of a catalogue.

        Args:
            codes: [num_items, num_levels] integers, each in [0, level_sizes[level]), in any order,
                duplicates allowed; numpy, torch or Arrow (a column of lists, or a table of a column
                a level), any integer dtype and strides. Not to be changed meanwhile. Those of a
                tensor on a GPU are sorted there, and give the same bytes.
            level_sizes: 2 to 8 code counts, each from 2 to 65536.
            item_ids: [num_items] distinct int64 of at least 0; default: row numbers.
            item_scores: [num_items] priors, higher first inside one SID; equal priors (the default)
                are ordered by a hash of the item id, never by row.
            keep_scores: whether to store item_scores, as float32, for `node_statistic` and
                `item_scores`.

        Raises:
            ValueError: an empty catalogue, a code out of range (the message names the first row and
                level), a duplicate id, a wrong shape, scores to keep that are not finite.
            TypeError: codes, sizes or ids that are not integers, priors that are not real numbers.

        Cost: a sort of num_items keys of up to 64 bits (128 when the levels need it) and two linear
        passes, on all threads: about 21 ns an item and thread, 40 with ids (Zen 5). Peak memory
        beside `codes` and the trie: 12 bytes an item (20 for the wider keys). On a GPU two to five
        sorts of as many keys, some 80 bytes of its memory an item, and one copy of the trie back.
        """
        where = "SidTrie.build"
        sizes = index_vector(where, "level_sizes", level_sizes).tolist()
        if _is_on_gpu(codes):
            built = _built_on_gpu(codes, sizes, item_ids, item_scores, keep_scores)
            if built is not None:
                return cls._own(built)
            codes, item_ids, item_scores = map(_on_host, (codes, item_ids, item_scores))
        rows = CatalogueRows.check(where, len(sizes), codes, item_ids, item_scores, keep_scores)
        handle = _C.SidTrie.build(rows.codes, sizes, rows.item_ids, rows.item_scores, keep_scores)
        return cls._own(handle)

    @classmethod
    def build_file(
        cls,
        path: str | os.PathLike[str],
        chunks: Iterable[tuple[Any, Any, Any]],
        level_sizes: Sequence[int],
        *,
        keep_scores: bool = False,
        max_memory_bytes: int = 1 << 30,
        scratch_folder: str | os.PathLike[str] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> SidTrie:
        """Builds the trie of a catalogue larger than memory, as a file, and maps it.

        The file holds the bytes that `build` and `save` would give for all chunks as one; it is
        whole or untouched, whatever happens.

        Args:
            path: the file to write; a link is followed.
            chunks: (codes, item_ids or None, item_scores or None), each as in `build`, rows
                numbered on from chunk to chunk. Either every chunk has ids or none, and so for
                scores. A chunk is read once and not kept.
            level_sizes, keep_scores: as in `build`.
            max_memory_bytes: what the build allocates beside one chunk, at least 32 MiB. Scratch
                and result are mapped files, which the system writes out where memory is short.
            scratch_folder: where sorted batches lie meanwhile, in files without names; default: the
                folder of `path`. They take up to 24 bytes an item (40 where codes need more than
                64 bits), and 16 more for each of ids and scores.
            progress: called with the number of rows read, after each chunk.

        Raises:
            ValueError, TypeError: as `build`; rows are counted over all chunks.
            OSError: a folder that cannot be written, a disk without room.

        A build that is killed leaves its unfinished file, <path>.<process>-<number>.tmp, which the
        next one for the same path removes; batches have no names.

        Cost: about three times that of `build`, up to seven with ids, and the disk's.
        """
        where = "SidTrie.build_file"
        sizes = index_vector(where, "level_sizes", level_sizes).tolist()
        target = os.path.realpath(os.fsdecode(path_bytes(where, path)))
        folder = Path(target).parent if scratch_folder is None else scratch_folder
        rows = _checked_chunks(where, chunks, len(sizes), keep_scores, progress)
        _C.SidTrie.build_file(
            os.fsencode(target),
            sizes,
            keep_scores,
            index_vector(where, "max_memory_bytes", max_memory_bytes).item(),
            path_bytes(where, folder),
            lambda: next(rows, None),
        )
        return cls.load(target, verify=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str], verify: bool = True) -> SidTrie:
        """Maps a trie file.

        With `verify` every byte is read and every rule of the format is checked. Without it only
        the header and the section table are (milliseconds, whatever the size), and queries stay
        memory-safe on any bytes: what is out of range counts as absent. Replace a file by `save`,
        which renames; never alter one that is loaded.

        Raises:
            TrieFormatError: a truncated or altered file, or one of another version.
            OSError: a file that cannot be read.
        """
        return cls._own(_C.SidTrie.load(readable_file("SidTrie.load", path, _SAVED), verify))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the trie; the file is whole or untouched, whatever happens. A link is followed.

        Equal catalogues give equal bytes. docs/trie_file_format.md describes them.
        """
        self._handle.save(writable_file("SidTrie.save", path))

    def verify(self) -> None:
        """Checks every checksum and rule of the format; raises TrieFormatError unless all hold."""
        self._handle.verify()

    def section_bytes(self) -> SectionBytes:
        """`nbytes` broken down by section and level."""
        return SectionBytes.of(self._handle.sections(), self.num_levels, self.nbytes)

    def item_scores(self) -> npt.NDArray[np.float32] | None:
        """float32 [num_items]: the kept priors in the row order of `build`; None without any.

        Cost: one pass over the items.
        """
        return self._handle.item_scores()

    def rank_of(self, item_ids: Any) -> npt.NDArray[np.int64]:
        """int64 [n]: the rank of each item's SID, -1 for an id that the trie does not hold.

        Cost: one look-up where ids are row numbers, else a search of about log log num_items steps
        (log num_items when the ids lie very unevenly).
        """
        return self._handle.rank_of(index_vector("SidTrie.rank_of", "item_ids", item_ids))

    def sample(self, n: int, seed: int, by: str = "item") -> npt.NDArray[np.int64]:
        """Ranks of n SIDs drawn at random with replacement: int64 [n].

        Args:
            n: how many, at least 0.
            seed: equal seeds give equal samples of equal tries.
            by: "item" draws a SID in proportion to the number of its items, "sid" draws each alike.

        Raises ValueError for a negative n or another `by`.
        """
        where = "SidTrie.sample"
        if n < 0:
            raise invalid(where, "n", "at least 0", n)
        if by not in ("item", "sid"):
            raise invalid(where, "by", '"item" or "sid"', by)
        drawn = np.random.default_rng(seed).integers(
            0, self.num_items if by == "item" else self.num_sids, size=n
        )
        return self._handle.rank_at(drawn) if by == "item" else drawn

    def node_statistic(
        self, level: int, kind: str, values: Any = None, q: float = 0.5
    ) -> npt.NDArray[np.float32]:
        """One number for each node of `level`, over the values of the items below it.

        Args:
            level: 0 to num_levels; num_levels gives a number for each SID.
            kind: "count", "sum", "mean", "max" or "quantile"; sums are taken in float64.
            values: [num_items] finite numbers in the row order of `build`; default: the scores that
                `build(keep_scores=True)` stored. "count" needs none.
            q: of the quantile, 0 to 1; between two values by linear interpolation.

        Returns:
            float32 [num_nodes(level)]: with level + 1 in place of level, a `node_prior` of
            `constrained_beam_step` at `level`.

        Raises ValueError for another kind, values that are missing, not finite or of a wrong shape,
        and q outside [0, 1].

        Cost: one pass over the values, two when they are given.
        """
        where = "SidTrie.node_statistic"
        if kind not in _STATISTICS:
            raise invalid(where, "kind", f"one of {', '.join(_STATISTICS)}", kind)
        if not 0 <= q <= 1:
            raise invalid(where, "q", "0 to 1", q)
        if values is None and kind != "count" and not self._handle.has_scores:
            remedy = "give values, or build with keep_scores=True"
            raise invalid(where, "values", f"[{self.num_items}] numbers", None, remedy)
        rows = None if values is None else self._by_row(where, values)
        return self._handle.node_statistic(level, rows, _STATISTICS.index(kind), q)

    def _by_row(self, where: str, values: Any) -> npt.NDArray[np.float32]:
        rows = float_vector(where, "values", values)
        if rows.shape != (self.num_items,):
            raise invalid(where, "values", f"shape [{self.num_items}]", list(rows.shape))
        return finite32(where, "values", rows)

    def child_range(
        self, level: int, nodes: Any
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(begin, end), int64 [n] each: the children, nodes of level + 1, of each of `nodes` [n].

        A node that does not exist, or whose range does not fit in an unverified trie, has the empty
        range (0, 0).
        """
        return self._handle.child_range(level, index_vector("SidTrie.child_range", "nodes", nodes))

    def count_items(self, level: int, nodes: Any) -> npt.NDArray[np.int64]:
        """int64 [n]: the items below each of `nodes` [n] of `level`, 0 to num_levels.

        A node that does not exist has none. Cost: a few look-ups per node, whatever lies below it.
        """
        begin, end = self.item_range(level, nodes)
        return end - begin

    def item_range(
        self, level: int, nodes: Any
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(begin, end), int64 [n] each: positions of the items below each of `nodes` [n].

        Positions number the items in the order of their ranks, inside one SID best first. `level`
        goes from 0 to num_levels. A node that does not exist has the empty range (0, 0).
        """
        return self._handle.item_range(level, index_vector("SidTrie.item_range", "nodes", nodes))

    def rank_range(
        self, level: int, nodes: Any
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(begin, end), int64 [n] each: the ranks of the SIDs below each of `nodes` [n] of `level`.

        `level` goes from 0 to num_levels, where node n has the range (n, n + 1). A node that does
        not exist has the empty range (0, 0).
        """
        return self._handle.rank_range(level, index_vector("SidTrie.rank_range", "nodes", nodes))

    def filter(
        self,
        allow: Any = None,
        deny: Any = None,
        where: Condition | str | None = None,
        columns: ItemColumns | None = None,
    ) -> ItemFilter:
        """The filter that lets through items of `allow` that meet `where`, but for those of `deny`.

        Args:
            allow, deny: sets of items, each as item ids (integers [n]) or as a mask bool
                [num_items] over the rows given to `build`. Ids that the trie does not hold match
                nothing; `ItemFilter.num_unknown_ids` counts them. Default: all items, and none.
            where: an expression over `columns`, as `col("price") < 5`.
            columns: `ItemColumns` of this trie.

        Raises:
            ValueError: an unknown column, columns of another trie, a mask of another length.
            TypeError: a comparison that a column's kind does not have.

        Cost: of an expression a read of the columns it names; of ids a search each, and about 0.5
        kB of memory; of a mask a random read an item.
        """
        return ItemFilter._make(self, allow, deny, where, columns)

    def _items_of_filter(
        self, argument: str, items: Any
    ) -> npt.NDArray[np.int64] | npt.NDArray[np.bool_]:
        return item_set("SidTrie.filter", argument, items, self.num_items)

    def _columns_of_filter(self, columns: ItemColumns | None) -> tuple[ItemColumns, ...]:
        expected = "ItemColumns of this trie, which `where` asks about"
        remedy = "make them with ItemColumns.build(trie, ...)"
        if not isinstance(columns, ItemColumns):
            raise invalid("SidTrie.filter", "columns", expected, type(columns), remedy, TypeError)
        if not columns.belongs_to(self):
            raise invalid("SidTrie.filter", "columns", expected, "those of another trie", remedy)
        return (columns,)


def _built_on_gpu(
    codes: Any, sizes: list[int], item_ids: Any, item_scores: Any, keep_scores: bool
) -> _C.SidTrie | None:
    """None for what is not sound: the native builder says what is wrong with it."""
    from onesearch_fast.index.device_builder import DeviceRows, build_on_device

    rows = DeviceRows.of(codes, sizes, item_ids, item_scores, keep_scores)
    return build_on_device(rows) if rows.are_sound() else None


def _is_on_gpu(values: Any) -> bool:
    return getattr(values, "is_cuda", False)


def _on_host(values: Any) -> Any:
    return values.cpu() if _is_on_gpu(values) else values


def _checked_chunks(
    where: str,
    chunks: Iterable[tuple[Any, Any, Any]],
    num_levels: int,
    keep_scores: bool,
    progress: Callable[[int], None] | None,
) -> Iterator[CatalogueRows]:
    num_rows = 0
    for chunk in chunks:
        if not isinstance(chunk, tuple) or len(chunk) != 3:
            raise invalid(where, "chunks", "tuples (codes, item_ids, item_scores)", type(chunk))
        yield (rows := CatalogueRows.check(where, num_levels, *chunk, keep_scores))
        num_rows += len(rows.codes)
        if progress is not None:
            progress(num_rows)
