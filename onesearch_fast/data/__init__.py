"""Records, readers, the train/evaluation split, prompts, tokenizer, and the synthetic catalogue.

Names load on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

from onesearch_fast.lazy import lazy_names

_PUBLIC = {
    "Item": "onesearch_fast.data.records",
    "User": "onesearch_fast.data.records",
    "Interaction": "onesearch_fast.data.records",
    "JudgedQuery": "onesearch_fast.data.records",
    "Dataset": "onesearch_fast.data.records",
    "item_text": "onesearch_fast.data.records",
    "Event": "onesearch_fast.data.split",
    "UserHistory": "onesearch_fast.data.split",
    "TrainLog": "onesearch_fast.data.split",
    "EvalCase": "onesearch_fast.data.split",
    "Split": "onesearch_fast.data.split",
    "leave_last_out": "onesearch_fast.data.split",
    "read_dataset": "onesearch_fast.data.readers",
    "validate_folder": "onesearch_fast.data.validate",
    "make_synthetic": "onesearch_fast.data.synthetic",
}

__all__ = list(_PUBLIC)
__getattr__ = lazy_names(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted(__all__)
