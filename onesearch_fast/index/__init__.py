"""The catalogue as an index over semantic IDs: the trie, its filters, and the table of items."""

from onesearch_fast.index.item_filter import ItemFilter
from onesearch_fast.index.live_store import LiveStore, Snapshot
from onesearch_fast.index.sid_trie import SidTrie

__all__ = ["ItemFilter", "LiveStore", "SidTrie", "Snapshot"]
