from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from onesearch_fast.data.readers import read_dataset
from onesearch_fast.data.readers.beauty2014 import read_beauty2014
from onesearch_fast.data.records import Interaction, Item
from onesearch_fast.data.split import leave_last_out
from onesearch_fast.errors import DataError

ITEMS = """item_id\tasin\ttitle\tbrand\tcategories
1\tX1\tgreen soap\tUnknown\tBath > Soap
2\tX2\t\tAcme\tBath
3\tX3\tred comb\tAcme\tHair > Tools > Combs
"""
SEQUENCES = """user_id\titem_ids\ttimestamps
7\t1 3\t- 100
8\t3 2 1\t50 - 60
"""


def folder_with(tmp_path, items=ITEMS, sequences=SEQUENCES, name="sequences_day_shuffled.tsv.gz"):
    for file, text in {"items.tsv.gz": items, name: sequences}.items():
        with gzip.open(tmp_path / file, "wb") as out:
            out.write(text.encode())
    return tmp_path


def test_items_queries_sessions_and_unknown_times(tmp_path):
    data = read_dataset(folder_with(tmp_path))
    assert data.name == "beauty2014-shuffled"
    assert data.items[0] == Item("1", "green soap", None, ("Bath", "Soap"))
    assert data.items[1] == Item("2", "", "Acme", ("Bath",))
    assert data.interactions[0] == Interaction("7", 100, "1", "click", "Bath > Soap", "0")
    assert [row.time for row in data.interactions] == [100, 100, 50, 50, 60]
    assert [user.user_id for user in data.users] == ["7", "8"]


def test_the_last_item_is_held_out_under_its_category_path(tmp_path):
    split = leave_last_out(read_dataset(folder_with(tmp_path)))
    asked = [(case.query, case.target_row) for case in split.cases["search"]]
    assert asked == [("Hair > Tools > Combs", 2), ("Bath > Soap", 0)]
    assert [[event.row for event in history.events] for history in split.log.histories] == [
        [0],
        [2, 1],
    ]


def test_each_order_reads_its_own_file(tmp_path):
    folder_with(tmp_path)
    folder_with(tmp_path, sequences=SEQUENCES.replace("1 3", "3 1"), name="sequences.tsv.gz")
    assert read_dataset(tmp_path).interactions[0].item_id == "1"
    assert read_dataset(tmp_path, order="canonical").interactions[0].item_id == "3"
    with pytest.raises(ValueError, match="shuffled"):
        read_dataset(tmp_path, order="random")
    with pytest.raises(ValueError, match="order"):
        read_beauty2014(tmp_path, order="random")


def test_an_order_whose_file_is_absent_names_the_other(tmp_path):
    folder_with(tmp_path, name="sequences.tsv.gz")
    with pytest.raises(DataError, match=r"got shuffled; .*another order: canonical"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"items": ITEMS + "4\tX4\tonly\tthree\n"}, r"items\.tsv\.gz:5: line: .*4 cells"),
        ({"items": ITEMS + "4\tX4\t\tUnknown\t\n"}, r"items\.tsv\.gz:5: title: .*some text"),
        ({"items": "id\tasin\ttitle\tbrand\tcategories\n"}, r"items\.tsv\.gz:1: head line"),
        ({"items": ""}, "a head line"),
        (
            {"items": ITEMS + "1\tX1\tsoap\tAcme\tBath\n"},
            r"gz:5: item_id: .*own, got 1",
        ),
        ({"sequences": SEQUENCES + "7\t2\t5\n"}, r"shuffled\.tsv\.gz:4: user_id: .*own, got 7"),
        ({"sequences": SEQUENCES + "9\t1\t--5\n"}, r":4: timestamps: .*got --5"),
        ({"sequences": SEQUENCES + "9\t1\t" + "9" * 5000 + "\n"}, r":4: timestamps: .*got 999"),
        ({"sequences": SEQUENCES + "9\t99\t5\n"}, r"shuffled\.tsv\.gz:4: item_ids: .*99"),
        ({"sequences": SEQUENCES + "9\t1 2\t5\n"}, r":4: timestamps: expected one per item \(2\)"),
        ({"sequences": SEQUENCES + "9\t1 2\t5 x\n"}, r":4: timestamps: .*got x"),
        ({"sequences": SEQUENCES + "9\t1 2\t5 4\n"}, r":4: timestamps: .*4 after 5"),
    ],
)
def test_broken_rows_are_named_with_file_and_line(tmp_path, parts, words):
    with pytest.raises(DataError, match=words):
        read_dataset(folder_with(tmp_path, **parts))


def test_a_truncated_file_is_named(tmp_path):
    path = folder_with(tmp_path) / "items.tsv.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match=r"items\.tsv\.gz:\d+: file: expected whole gzip"):
        read_dataset(tmp_path)


@pytest.mark.data
@pytest.mark.parametrize("order", ["shuffled", "canonical"])
def test_the_real_files_have_their_published_size(order):
    root = os.environ.get("ONESEARCH_DATA")
    if root is None or not (Path(root) / "beauty2014").is_dir():
        pytest.skip("ONESEARCH_DATA does not name a folder with beauty2014")
    data = read_dataset(Path(root) / "beauty2014", order=order)
    assert (len(data.items), len(data.users), len(data.interactions)) == (12101, 22363, 176139)
    split = leave_last_out(data)
    assert len(split.cases["search"]) == len(split.cases["next_item"]) == 22363
