"""Files are whole or absent, whatever happens in between."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

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


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "run1").mkdir()
    (tmp_path / "latest").symlink_to("run1")
    with files.atomic_folder(tmp_path / "latest") as temporary:
        (temporary / "file").write_text("new")
    assert (tmp_path / "latest").is_symlink()
    assert (tmp_path / "run1" / "file").read_text() == "new"
    (tmp_path / "value.json").symlink_to(tmp_path / "run1" / "value.json")
    files.write_json(tmp_path / "value.json", 1)
    assert files.read_json(tmp_path / "run1" / "value.json") == 1
    assert entries(tmp_path) == ["latest", "run1", "value.json"]


def test_a_folder_does_not_replace_a_file(tmp_path: Path) -> None:
    target = tmp_path / "notes.txt"
    target.write_text("precious")
    with pytest.raises(NotADirectoryError), files.atomic_folder(target):
        raise AssertionError("the body must not run")
    assert target.read_text() == "precious"
    assert entries(tmp_path) == ["notes.txt"]


def test_a_folder_comes_back_when_its_successor_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "file").write_text("old")
    replace = Path.replace

    def fail_for_the_new_folder(source: Path, name: Path) -> Path:
        if source.suffix == ".tmp":
            raise OSError("no")
        return replace(source, name)

    monkeypatch.setattr(Path, "replace", fail_for_the_new_folder)
    with pytest.raises(OSError, match="no"), files.atomic_folder(target) as temporary:
        (temporary / "file").write_text("new")
    assert (target / "file").read_text() == "old"
    assert entries(tmp_path) == ["model"]


def test_native_code_gets_no_name_that_it_would_cut_short() -> None:
    assert files.path_bytes("load", "caf\udce9") == b"caf\xe9"
    with pytest.raises(ValueError, match="load: path: expected a name without NUL"):
        files.path_bytes("load", "trie.bin\0.backup")


def test_who_may_read_a_file_is_up_to_the_umask(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with files.atomic_path(tmp_path / "tensors") as temporary:
        save_file({"x": np.zeros(3)}, temporary)
    assert (tmp_path / "tensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
