"""Thin calls into the native core, `_C`."""

import torch  # noqa: F401  before its threads are looked for

from onesearch_fast import _C

_C.borrow_threads()
