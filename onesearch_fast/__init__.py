"""Generative product search: semantic IDs, the model that generates them, exact beam search.

Importing the package loads torch and numpy at most; a public name loads its module on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "SidTrie": "onesearch_fast.index.sid_trie",
    "ItemFilter": "onesearch_fast.index.item_filter",
    "ItemColumns": "onesearch_fast.index.item_columns",
    "FilterCache": "onesearch_fast.index.filter_cache",
    "Expression": "onesearch_fast.index.expressions",
    "col": "onesearch_fast.index.expressions",
    "LiveStore": "onesearch_fast.index.live_store",
    "Snapshot": "onesearch_fast.index.live_store",
    "ItemTable": "onesearch_fast.index.item_table",
    "Engine": "onesearch_fast.engine.engine",
    "SearchOptions": "onesearch_fast.engine.search_options",
    "Searcher": "onesearch_fast.engine.searcher",
    "SearchRequest": "onesearch_fast.engine.requests",
    "UserContext": "onesearch_fast.engine.requests",
    "PastEvent": "onesearch_fast.engine.requests",
    "Hit": "onesearch_fast.engine.requests",
    "TrieFormatError": "onesearch_fast.errors",
    "LiveStoreFormatError": "onesearch_fast.errors",
    "ServedModelError": "onesearch_fast.errors",
    "FormatError": "onesearch_fast.errors",
    "DataError": "onesearch_fast.errors",
    "BackendUnavailable": "onesearch_fast.errors",
    "set_num_threads": "onesearch_fast.runtime",
    "get_num_threads": "onesearch_fast.runtime",
}
_SUBPACKAGES = (
    "data",
    "engine",
    "evaluate",
    "index",
    "integrations",
    "models",
    "nn",
    "ops",
    "runtime",
    "sid",
    "testing",
    "train",
)

__all__ = ["__version__", *_PUBLIC, *_SUBPACKAGES]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
    elif name in _SUBPACKAGES:
        value = importlib.import_module(f"onesearch_fast.{name}")
    else:
        raise AttributeError(f"module 'onesearch_fast' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
