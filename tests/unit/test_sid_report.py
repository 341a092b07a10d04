"""The report: prefix ranking against its definition, recall by hand, files of the verb."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.cli.main import main
from onesearch_fast.sid.prefix_ranking import PrefixRanking
from onesearch_fast.sid.quality import quality
from onesearch_fast.sid.report import (
    MAX_ASKERS,
    Bucket,
    SidReport,
    describe_buckets,
    draw_askers,
    neighbour_recall,
    query_recall,
)
from onesearch_fast.sid.report_output import draw_report


def random_case(seed: int, num_items: int, sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    codes = random.integers(0, sizes, size=(num_items, len(sizes))).astype(np.int32)
    return codes, random.normal(size=(num_items, 4)).astype(np.float32)


def oracle(codes: np.ndarray, x: np.ndarray, vector: np.ndarray, own: np.ndarray) -> list[tuple]:
    """Each item's key by the definition: per level, on the own path or not, then distance."""
    keys = []
    for row in range(len(codes)):
        key: list[float] = []
        for level in range(1, codes.shape[1] + 1):
            members = (codes[:, :level] == codes[row, :level]).all(axis=1)
            distance = np.square(x[members].mean(axis=0) - vector).sum()
            shared = bool((codes[row, :level] == own[:level]).all())
            key += [not shared, 0.0 if shared else round(float(distance), 4)]
        keys.append(tuple(key))
    return keys


@given(st.integers(0, 10_000), st.integers(1, 30), st.sampled_from([(3,), (3, 2), (2, 3, 2)]))
def test_the_walk_follows_the_definition(seed: int, num: int, sizes: tuple[int, ...]) -> None:
    codes, x = random_case(seed, num, sizes)
    own, vector = codes[seed % num], x[-1] + 0.1
    top = PrefixRanking(codes, x).top(vector[None], own[None], num)[0]
    keys = oracle(codes, x, vector, own)
    assert sorted(top.tolist()) == list(range(num))
    assert [keys[row] for row in top] == sorted(keys)
    some = PrefixRanking(codes, x).top(vector[None], own[None], 5)[0]
    np.testing.assert_array_equal(some[: min(5, num)], top[:5])
    assert (some[num:] == -1).all()


def test_a_path_that_no_item_has_is_followed_as_far_as_it_goes() -> None:
    codes = np.array([[0, 0], [0, 1], [1, 0]], np.int32)
    x = np.array([[0, 0], [0, 9], [5, 0]], np.float32)
    ranking = PrefixRanking(codes, x)
    top = ranking.top(np.array([[5, 1]], np.float32), np.array([[0, 7]]), 3)
    assert top.tolist() == [[0, 1, 2]]
    assert ranking.sharing(np.array([[0, 7], [1, 0], [7, 0]])).tolist() == [[2, 0], [1, 1], [0, 0]]


def test_items_of_one_sid_do_not_come_in_row_order() -> None:
    codes, x = np.zeros((50, 2), np.int32), np.ones((50, 4), np.float32)
    first = PrefixRanking(codes, x, seed=3).top(x[:1], codes[:1], 50)
    assert first[0].tolist() != list(range(50))
    np.testing.assert_array_equal(first, PrefixRanking(codes, x, seed=3).top(x[:1], codes[:1], 50))


def test_recall_of_a_line_of_items_by_hand() -> None:
    """Six items on an arc; SIDs group them as 01 | 234 | 5."""
    angles = np.array([0.0, 0.1, 0.35, 0.45, 0.52, 0.9])
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    codes = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [1, 2], [2, 0]], np.int32)
    # Nearest: 0-1, 1-0, 2-3, 3-4, 4-3, 5-4; all but the last share the first code.
    recall = neighbour_recall(codes, x, k=1)
    assert recall.shared == pytest.approx((5 / 6, 0.0))
    assert recall.candidates == pytest.approx(((2 + 2 + 3 + 3 + 3 + 1) / 6, 1.0))
    # 5 walks to 234, whose nearest to it is 4; so each finds its nearest.
    assert recall.recall == recall.mrr == 1.0
    queries = query_recall(codes, x, codes[[0, 2]], x[[0, 2]], np.array([1, 5]), k=2)
    assert queries.recall == 0.5
    assert queries.mrr == pytest.approx(0.5 / 2)
    assert queries.embedding_recall == 0.5


def test_codes_that_say_nothing_find_by_chance_and_whole_vectors_find_all() -> None:
    _, x = random_case(1, 300, (2,))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    blind = neighbour_recall(np.zeros((300, 1), np.int32), x, k=10)
    assert blind.recall < 0.1
    assert blind.shared == (1.0,)
    alone = neighbour_recall(np.arange(300, dtype=np.int32)[:, None], x, k=10)
    assert alone.recall == 1.0
    assert alone.shared == (0.0,)


def test_bad_requests_are_refused() -> None:
    codes, x = random_case(1, 5, (2, 2))
    with pytest.raises(ValueError, match=r"k: expected an integer in \[1, 4\], got 5"):
        neighbour_recall(codes, x, k=5)
    with pytest.raises(ValueError, match="at least one, got"):
        query_recall(codes, x, codes[:0], x[:0], np.zeros(0, np.int64))
    with pytest.raises(ValueError, match="5 rows as embeddings"):
        PrefixRanking(codes[:3], x)


def test_askers_are_drawn_by_seed() -> None:
    assert draw_askers(5, 1).tolist() == [0, 1, 2, 3, 4]
    many = draw_askers(10 * MAX_ASKERS, 1)
    assert len(set(many.tolist())) == MAX_ASKERS
    np.testing.assert_array_equal(many, draw_askers(10 * MAX_ASKERS, 1))


def test_text_names_the_fullest_sids() -> None:
    codes = np.array([[0, 1], [0, 1], [1, 0]], np.int32)
    buckets = describe_buckets(codes, (2, 2), 1, ["red hat", "blue hat", "mug"])
    assert buckets[0] == Bucket("<a_0><b_1>", 2, ("red hat", "blue hat"))
    text = SidReport(quality(codes, (2, 2)), buckets).as_text()
    assert "2 items on <a_0><b_1>" in text
    assert "blue hat" in text
    assert "recall" not in text


def test_no_legend_lies_over_a_line() -> None:
    codes = np.array([[0, 1], [0, 1], [1, 0]])
    figure = draw_report(SidReport(quality(codes, (2, 2), np.eye(3, dtype=np.float32)), ()))
    figure.canvas.draw()
    for axes in figure.axes[:2]:
        legend = axes.get_legend()
        assert legend is not None
        assert legend.get_window_extent().y1 < axes.get_window_extent().y0


@pytest.mark.parametrize("searched", [True, False])
def test_the_verb_writes_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], searched: bool
) -> None:
    items = [{"item_id": f"i{row}", "title": f"thing {row} {row % 7}"} for row in range(40)]
    events = [
        {"user_id": f"u{row % 4}", "time": row * 10_000, "item_id": f"i{row}", "event": "click"}
        | ({"query": f"thing {row}"} if searched else {})
        for row in range(20)
    ]
    (tmp_path / "data").mkdir()
    for name, rows in (("items", items), ("interactions", events)):
        text = "\n".join(json.dumps(row) for row in rows)
        (tmp_path / "data" / f"{name}.jsonl").write_text(text, encoding="utf-8")
    out, report = tmp_path / "sids", tmp_path / "report"
    options = ["--level-sizes", "6,4", "--opq", "none", "--text-dim", "8", "--json"]
    command = ["build-sids", str(tmp_path / "data"), "--out", str(out), "--report", str(report)]
    assert main([*command, *options]) == 0
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((report / "report.json").read_text())
    assert {key: printed[key] for key in written} == written
    assert written["neighbours"]["num_askers"] == 40
    assert (written["queries"] is not None) == searched
    assert "nearest items found" in (report / "report.txt").read_text()
    assert (report / "levels.png").read_bytes().startswith(b"\x89PNG")
