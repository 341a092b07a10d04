"""Files that are either whole or absent: atomic writes, checksums, JSON."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onesearch_fast.errors import FormatError, complaint, invalid


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary sibling of `path`; on success it is synced and renamed over `path`.

    If the body raises, nothing is left behind and an existing `path` is untouched. A link is
    followed, as by any write.
    """
    target = _target(path)
    temporary = _sibling(target, "tmp")
    temporary.touch(exist_ok=False)
    mode = temporary.stat().st_mode
    try:
        yield temporary
        temporary.chmod(mode)  # safetensors writes files that only their owner can read
        _sync(temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields an empty temporary sibling folder; on success it takes the place of `path`.

    If the body raises, nothing is left behind and an existing `path` is untouched. A link is
    followed. A file at `path` is refused with NotADirectoryError before the body runs.
    """
    target = _target(path)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target))
    temporary = _sibling(target, "tmp")
    temporary.mkdir()
    try:
        yield temporary
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                _sync(file)
        _replace_folder(target, temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _replace_folder(target: Path, new: Path) -> None:
    if not target.exists():
        new.replace(target)
        return
    # rename() cannot replace a non-empty folder, so the old one steps aside first.
    retired = _sibling(target, "old")
    target.replace(retired)
    try:
        new.replace(target)
    except BaseException:
        retired.replace(target)
        raise
    shutil.rmtree(retired)


def _target(path: str | os.PathLike[str]) -> Path:
    # A rename would replace a link itself and leave what it points to stale.
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _sibling(target: Path, suffix: str) -> Path:
    # Not `tempfile`: it makes files that only their owner can read, whatever the umask says.
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}.{suffix}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def path_bytes(where: str, path: str | os.PathLike[str]) -> bytes:
    """The name of a file as the system takes it: for native code, which would stop at a NUL."""
    name = os.fsencode(path)
    if b"\0" in name:
        raise invalid(where, "path", "a name without NUL characters", name)
    return name


def readable_file(where: str, path: str | os.PathLike[str], remedy: str) -> bytes:
    """`path_bytes` of a file that is there; the system's kind of error says what is instead."""
    name = path_bytes(where, path)
    file = Path(os.fsdecode(name))
    if file.is_dir():
        raise _no_file(where, "an existing file", "a folder", errno.EISDIR, file, remedy)
    if not file.exists():
        raise _no_file(where, "an existing file", "none", errno.ENOENT, file, remedy)
    return name


def writable_file(where: str, path: str | os.PathLike[str]) -> bytes:
    """Where a file of this name is written, links followed, unless a folder is in its place."""
    name = os.path.realpath(path_bytes(where, path))
    file = Path(os.fsdecode(name))
    if file.is_dir():
        remedy = "name a file within it"
        raise _no_file(where, "a file to write", "a folder", errno.EISDIR, file, remedy)
    if not file.parent.is_dir():
        expected = "a file in an existing folder"
        raise _no_file(where, expected, "none", errno.ENOENT, file, "make it first")
    return name


def _no_file(where: str, expected: str, got: str, code: int, file: Path, remedy: str) -> OSError:
    """Of the class that Python has for the code."""
    return OSError(code, complaint(where, "path", expected, got, remedy), str(file))


def sha256(path: str | os.PathLike[str]) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def folder_sha256(folder: str | os.PathLike[str]) -> str:
    """Hex SHA-256 of the names and contents of all files in a folder and below it."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    contents = [(path.relative_to(folder).as_posix(), sha256(path)) for path in files]
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes UTF-8 JSON atomically, keys sorted, so that equal values give equal bytes."""
    text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads UTF-8 JSON; raises FormatError naming the file when it is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FormatError(f"{path}: expected UTF-8 JSON: {error}") from error
