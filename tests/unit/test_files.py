"""Files are whole or absent, whatever happens in between."""

from pathlib import Path

import pytest

from onesearch_fast import files
from onesearch_fast.errors import FormatError


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_atomic_path_replaces_only_on_success(tmp_path: Path) -> None:
    target = tmp_path / "value.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), files.atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("half way")
    assert target.read_text() == "old"
    with files.atomic_path(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"
    assert entries(tmp_path) == ["value.txt"]


def test_atomic_folder_replaces_a_full_folder(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for text in ("first", "second"):
        with files.atomic_folder(target) as temporary:
            (temporary / "inner").mkdir()
            (temporary / "inner" / "file").write_text(text)
        assert (target / "inner" / "file").read_text() == text
    with pytest.raises(RuntimeError), files.atomic_folder(target) as temporary:
        (temporary / "file").write_text("half")
        raise RuntimeError
    assert (target / "inner" / "file").read_text() == "second"
    assert entries(tmp_path) == ["model"]


def test_json_is_stable_and_refuses_what_is_not_json(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    files.write_json(path, {"b": [1, 2.5], "a": "红色"})
    first = path.read_bytes()
    files.write_json(path, {"a": "红色", "b": [1, 2.5]})
    assert path.read_bytes() == first
    assert files.read_json(path) == {"a": "红色", "b": [1, 2.5]}
    with pytest.raises(ValueError):
        files.write_json(path, {"nan": float("nan")})
    assert path.read_bytes() == first
    path.write_bytes(b"\xff{")
    with pytest.raises(FormatError, match=r"value\.json: expected UTF-8 JSON"):
        files.read_json(path)


def test_sha256_is_the_standard_one(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert files.sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_is_written_is_as_readable_as_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    files.write_json(tmp_path / "value.json", 1)
    with files.atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "file").touch()
    (tmp_path / "plain folder").mkdir()
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert modes["value.json"] == modes["plain"]
    assert modes["folder"] == modes["plain folder"]
