"""The catalogue as an index over semantic IDs: the trie, its filters, and the table of items."""

from onesearch_fast.index.expressions import Expression, col
from onesearch_fast.index.filter_cache import FilterCache
from onesearch_fast.index.item_columns import ItemColumns
from onesearch_fast.index.item_filter import ItemFilter
from onesearch_fast.index.live_store import LiveStore, Snapshot
from onesearch_fast.index.sid_trie import SidTrie

__all__ = [
    "Expression",
    "FilterCache",
    "ItemColumns",
    "ItemFilter",
    "LiveStore",
    "SidTrie",
    "Snapshot",
    "col",
]
