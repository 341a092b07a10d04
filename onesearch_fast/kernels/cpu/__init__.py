"""Thin calls into the native core, `_C`."""
