from __future__ import annotations

import pytest

from onesearch_fast.data.readers import discover_readers, find_reader, read_dataset
from onesearch_fast.errors import DataError


def test_readers_are_found_by_themselves():
    assert [reader.name for reader in discover_readers()] == ["beauty2014", "native"]


def test_the_form_is_told_by_file_names(tmp_path):
    (tmp_path / "items.parquet").touch()
    assert find_reader(tmp_path).name == "native"


def test_no_folder_and_no_known_form_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a folder, got .*does not exist; give the folder"):
        read_dataset(tmp_path / "absent")
    with pytest.raises(DataError, match="with nothing in it"):
        read_dataset(tmp_path)
    (tmp_path / "goods.csv").touch()
    with pytest.raises(DataError, match=r"goods\.csv; name the files .*native: items and interact"):
        read_dataset(tmp_path)
    with pytest.raises(DataError, match=r"goods\.csv, which is a file"):
        read_dataset(tmp_path / "goods.csv")


def test_two_forms_in_one_folder_are_refused(tmp_path):
    for name in ("items.jsonl", "items.tsv.gz", "sequences.tsv.gz"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"exactly one form, .*keep the files of one"):
        find_reader(tmp_path)


def test_an_order_that_the_form_lacks_is_refused(tmp_path):
    (tmp_path / "items.jsonl").touch()
    with pytest.raises(ValueError, match="order: expected None for native"):
        read_dataset(tmp_path, order="shuffled")
