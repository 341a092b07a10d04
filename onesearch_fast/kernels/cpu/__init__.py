"""Thin calls into the native core, `_C`."""

from onesearch_fast import _C

# Between the products of torch, which has been imported by whoever has tensors.
_C.borrow_threads()
