"""Exceptions of the package, and the one sentence form in which they speak.

`<where>: <argument>: expected <contract>, got <value>; <remedy>`
"""

from __future__ import annotations

from typing import TypeVar


class FormatError(ValueError):
    """A file is not what it claims to be: truncated, altered, or of another version."""


class TrieFormatError(FormatError):
    """A trie file failed a structural check or a checksum."""


class LiveStoreFormatError(FormatError):
    """A live store's folder lacks a file, or its journal is altered before its last record."""


class ServedModelError(FormatError):
    """A served model folder lacks a file, or a file does not match the manifest."""


class DataError(ValueError):
    """A catalogue or a log breaks the record schema; the message names file and line."""


class CudaError(RuntimeError):
    """A CUDA call of the native library failed; the message gives the driver's own words."""


class BackendUnavailable(RuntimeError):  # noqa: N818 (a public name, fixed by the design)
    """A backend was asked for by name and cannot run here; the message says why."""


E = TypeVar("E", bound=Exception)


def complaint(
    where: str, argument: str, expected: str, got: object, remedy: str | None = None
) -> str:
    """The package's sentence for a bad argument; long values are cut at 200 characters."""
    shown = got if isinstance(got, str) and got.strip() else repr(got)
    if len(shown) > 200:
        shown = shown[:197] + "..."
    sentence = f"{where}: {argument}: expected {expected}, got {shown}"
    return f"{sentence}; {remedy}" if remedy else sentence


def invalid(
    where: str,
    argument: str,
    expected: str,
    got: object,
    remedy: str | None = None,
    kind: type[E] = ValueError,  # type: ignore[assignment]
) -> E:
    """Builds (does not raise) the exception for a bad argument: callers `raise invalid(...)`."""
    return kind(complaint(where, argument, expected, got, remedy))
