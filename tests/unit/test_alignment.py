"""Alignment: mined pairs by hand and by a naive count, the losses, the adapter, the verb."""

from __future__ import annotations

import gzip
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.cli.main import main
from onesearch_fast.data.mining_config import MiningConfig
from onesearch_fast.data.pair_mining import (
    AlignmentTexts,
    incidence,
    item_cf,
    mine_pairs,
    swing,
    term_coverage,
)
from onesearch_fast.data.readers import read_dataset
from onesearch_fast.data.records import Dataset, Interaction, Item
from onesearch_fast.data.split import leave_last_out
from onesearch_fast.errors import FormatError
from onesearch_fast.sid.aligned_encoder import AlignedEncoder
from onesearch_fast.sid.alignment import (
    AlignmentPairs,
    contrastive_loss,
    fit_adapter,
    order_loss,
    relevance_loss,
    similar_pairs,
)
from onesearch_fast.sid.alignment_config import AlignmentConfig
from onesearch_fast.sid.text_encoder import load_text_encoder, read_settings
from onesearch_fast.sid.tfidf_encoder import TfidfEncoder

GROUPS = [[0, 1], [0, 1, 2], [1, 2], [0, 1, 2, 3]]


def test_item_cf_by_hand() -> None:
    similarity = item_cf(incidence(GROUPS, 4)).toarray()
    two, three, four = (1 / math.log(1 + size) for size in (2, 3, 4))
    assert similarity[0, 1] == pytest.approx((two + three + four) / math.sqrt(3 * 4))
    assert similarity[1, 2] == pytest.approx((three + two + four) / math.sqrt(4 * 3))
    assert similarity[0, 3] == pytest.approx(four / math.sqrt(3 * 1))
    assert similarity[0, 0] == 0.0
    np.testing.assert_allclose(similarity, similarity.T)


def test_swing_by_hand() -> None:
    similarity = swing(incidence(GROUPS, 4), alpha=1.0).toarray()
    w = [1 / math.sqrt(len(group)) for group in GROUPS]
    # 0 and 2 stand together in groups 1 and 3, which share three things.
    assert similarity[0, 2] == pytest.approx(w[1] * w[3] / (1 + 3))
    # 0 and 1 stand together in groups 0, 1 and 3.
    by_hand = w[0] * w[1] / (1 + 2) + w[0] * w[3] / (1 + 2) + w[1] * w[3] / (1 + 3)
    assert similarity[0, 1] == pytest.approx(by_hand)
    assert similarity[0, 3] == 0.0  # one group alone swings with nobody


def naive(groups: list[list[int]], num: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    sets = [set(group) for group in groups]
    cf, swung = np.zeros((num, num)), np.zeros((num, num))
    degree = [sum(thing in one for one in sets) for thing in range(num)]
    for i, j in itertools.permutations(range(num), 2):
        both = [one for one in sets if i in one and j in one]
        if both:
            shares = sum(1 / math.log(1 + len(one)) for one in both)
            cf[i, j] = shares / math.sqrt(degree[i] * degree[j])
        for first, second in itertools.combinations(both, 2):
            weight = 1 / math.sqrt(len(first) * len(second))
            swung[i, j] += weight / (alpha + len(first & second))
    return cf, swung


@given(
    st.lists(st.lists(st.integers(0, 7), max_size=6), max_size=8), st.sampled_from([0.5, 1.0, 3.0])
)
def test_mining_equals_a_naive_count(groups: list[list[int]], alpha: float) -> None:
    cf, swung = naive(groups, 8, alpha)
    sets = incidence(groups, 8)
    np.testing.assert_allclose(item_cf(sets).toarray(), cf, atol=1e-12)
    np.testing.assert_allclose(swing(sets, alpha).toarray(), swung, atol=1e-12)


def unit(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=1)


def test_contrastive_loss_by_hand_and_without_false_negatives() -> None:
    left, right = unit((1, 0), (0, 1)), unit((1, 0), (1, 1))
    ids = torch.tensor([0, 1]), torch.tensor([2, 3])
    s = math.sqrt(0.5)
    rows = math.log(1 + math.exp((s - 1) / 0.5)), math.log(1 + math.exp((0 - s) / 0.5))
    columns = math.log(1 + math.exp((0 - 1) / 0.5)), math.log(1 + math.exp((s - s) / 0.5))
    loss = contrastive_loss(left, right, *ids, temperature=0.5)
    assert float(loss) == pytest.approx((sum(rows) + sum(columns)) / 4)
    same_answer = contrastive_loss(left, right, ids[0], torch.tensor([2, 2]), 0.5)
    assert float(same_answer) == 0.0
    same_asker = contrastive_loss(left, right, torch.tensor([0, 0]), ids[1], 0.5)
    assert float(same_asker) == 0.0


def test_order_and_relevance_losses_by_hand() -> None:
    query, better, worse = unit((1, 0), (1, 0)), unit((1, 0), (0, 1)), unit((0, 1), (1, 0))
    assert float(order_loss(query, better, worse, margin=0.1)) == pytest.approx((0 + 1.1) / 2)
    wanted = torch.tensor([0.5, 0.0])
    assert float(relevance_loss(query, better, wanted)) == pytest.approx(0.25 / 2)


def pairs(**tasks: list[tuple[int, ...]]) -> AlignmentPairs:
    def rows(task: str, width: int) -> np.ndarray:
        return np.array(tasks.get(task, []), np.int64).reshape(-1, width)

    return AlignmentPairs(
        query_query=rows("query_query", 2),
        item_item=rows("item_item", 2),
        query_item=rows("query_item", 2),
        order=rows("order", 3),
        relevance=rows("relevance", 2),
        relevance_scores=np.full(len(tasks.get("relevance", [])), 0.9, np.float32),
    )


def random_vectors(num: int, dim: int = 16) -> np.ndarray:
    x = np.random.default_rng(5).normal(size=(num, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("task", "example"),
    [
        ("query_query", [(0, 1), (2, 3), (4, 5)]),
        ("item_item", [(0, 1), (2, 3), (4, 5)]),
        ("query_item", [(0, 6), (1, 7)]),
        ("order", [(0, 6, 7), (1, 7, 8)]),
        ("relevance", [(0, 6), (1, 7)]),
    ],
)
def test_each_task_alone_is_learnt(task: str, example: list[tuple[int, ...]]) -> None:
    config = AlignmentConfig(steps=60, batch_size=8, learning_rate=1e-2)
    _, curve = fit_adapter(random_vectors(9), pairs(**{task: example}), config)
    assert list(curve.losses) == [task]
    assert curve.losses[task][-1] < 0.2 * curve.losses[task][0] + 1e-3


def test_equal_seeds_give_equal_bits_and_weights_leave_tasks_out() -> None:
    mined = pairs(item_item=[(0, 1), (2, 3)], query_item=[(4, 5), (6, 7)])
    config = AlignmentConfig(steps=5, batch_size=2, weights=(1, 0, 1, 1, 1))
    first, curve = fit_adapter(random_vectors(9), mined, config)
    np.testing.assert_array_equal(first, fit_adapter(random_vectors(9), mined, config)[0])
    assert list(curve.losses) == ["query_item"]


def test_bad_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pairs.item_item: expected rows of 3 texts, got 0 to 3"):
        fit_adapter(random_vectors(3), pairs(item_item=[(0, 3)]))
    with pytest.raises(ValueError, match="an example of one task or more"):
        fit_adapter(random_vectors(3), pairs())
    with pytest.raises(ValueError, match=r"order: expected int64 \[n, 3\]"):
        replace(pairs(), order=np.zeros((1, 2), np.int64))
    with pytest.raises(ValueError, match=r"relevance_scores: expected 1 numbers in \[0, 1\]"):
        replace(pairs(relevance=[(0, 1)]), relevance_scores=np.array([np.nan], np.float32))
    with pytest.raises(ValueError, match="vectors: expected finite numbers"):
        fit_adapter(random_vectors(3) * np.nan, pairs(item_item=[(0, 1)]))


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": 0.0},
        {"weights": (1.0,)},
        {"weights": (1.0, 1.0, 1.0, 1.0, -1.0)},
        {"margin": math.nan},
        {"steps": 0},
        {"batch_size": 1},
        {"learning_rate": 0.0},
        {"seed": -1},
    ],
)
def test_bad_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"AlignmentConfig: .*{next(iter(bad))}"):
        AlignmentConfig(**bad)
    with pytest.raises(ValueError, match="MiningConfig: min_similarity"):
        MiningConfig(min_similarity=60)


def test_pairs_that_are_not_alike_are_dropped() -> None:
    x = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    every = np.array([[0, 1], [0, 2], [1, 2]])
    assert similar_pairs(every, x, 0.6).tolist() == [[0, 1], [1, 2]]


def test_term_coverage_counts_the_features_of_the_query() -> None:
    scores = term_coverage([("red hat", "a red hat"), ("red hat", "red mug"), ("7", "x"), ("", "")])
    # "red hat" has three features: both words and their pair.
    np.testing.assert_allclose(scores, [1.0, 1 / 3, 0.0, 0.0])


ITEMS = tuple(
    Item(f"i{row}", title)
    for row, title in enumerate(
        (
            "red wool scarf",
            "blue wool scarf",
            "red wool hat",
            "steel pan",
            "steel pan lid",
            "mug",
            "cup",
        )
    )
)


def a_dataset(last_item: str = "i5") -> Dataset:
    """Three users search twice and click; the second session of each is held out."""
    rows = []
    for user, (query, clicked, ordered) in enumerate(
        (("wool scarf", "i0", "i1"), ("scarf", "i0", "i2"), ("pan", "i3", "i4"))
    ):
        who = f"u{user}"
        rows += [Interaction(who, 10, item.item_id, "show", query) for item in ITEMS]
        rows += [
            Interaction(who, 11, clicked, "click", query),
            Interaction(who, 12, ordered, "order", query),
            Interaction(who, 90_000, last_item, "show", "gift"),
            Interaction(who, 90_001, last_item, "click", "gift"),
        ]
    return Dataset("test", ITEMS, (), tuple(rows))


def mined_pairs(dataset: Dataset) -> tuple[AlignmentTexts, AlignmentPairs]:
    log = leave_last_out(dataset).log
    texts = AlignmentTexts.of(log)
    vectors = TfidfEncoder.fit(texts.texts, 6, 0).encode(texts.texts)
    config = MiningConfig(min_similarity=-1.0)
    return texts, mine_pairs(log, texts, vectors, config=config)


def test_pairs_of_a_small_log() -> None:
    texts, mined = mined_pairs(a_dataset())
    assert texts.queries == ("pan", "scarf", "wool scarf")
    assert mined.query_query.tolist() == [[1, 2]]  # both led to i0
    assert mined.item_item.tolist() == [[3, 4], [3, 5], [6, 7]]
    assert sorted(map(tuple, mined.query_item)) == [(0, 6), (0, 7), (1, 3), (1, 5), (2, 3), (2, 4)]
    grade = {(0, 7): 2, (0, 6): 1, (1, 5): 2, (1, 3): 1, (2, 4): 2, (2, 3): 1}
    assert len(mined.order) > 9
    for query, better, worse in mined.order.tolist():
        assert grade.get((query, better), 0) > grade.get((query, worse), 0)
    taken = set(map(tuple, mined.query_item.tolist()))
    assert not taken & set(map(tuple, mined.relevance.tolist()))
    assert mined.relevance_scores.max() <= 1.0


def test_what_is_held_out_leaves_no_trace() -> None:
    first, second = mined_pairs(a_dataset("i5")), mined_pairs(a_dataset("i6"))
    assert first[0].texts == second[0].texts
    for name in vars(first[1]):
        np.testing.assert_array_equal(getattr(first[1], name), getattr(second[1], name))


def test_what_was_only_shown_comes_last_and_is_read_from_the_log() -> None:
    dataset = a_dataset()
    texts, mined = mined_pairs(dataset)
    log = replace(leave_last_out(dataset).log, shown=())
    vectors = TfidfEncoder.fit(texts.texts, 6, 0).encode(texts.texts)
    config = MiningConfig(min_similarity=-1.0)
    taken = set(map(tuple, mined.query_item.tolist()))
    without = mine_pairs(log, texts, vectors, config=config)
    assert any((query, worse) not in taken for query, _, worse in mined.order.tolist())
    assert all((query, worse) in taken for query, _, worse in without.order.tolist())


def test_a_judge_is_plugged_in() -> None:
    log = leave_last_out(a_dataset()).log
    texts = AlignmentTexts.of(log)
    seen: list[tuple[str, str]] = []

    def judge(asked: list[tuple[str, str]]) -> list[float]:
        seen.extend(asked)
        return [0.25] * len(asked)

    vectors = random_vectors(len(texts.texts))
    mined = mine_pairs(log, texts, vectors, judge)  # type: ignore[arg-type]
    assert set(mined.relevance_scores.tolist()) == {0.25}
    assert len(seen) == len(mined.relevance)
    assert {query for query, _ in seen} == set(texts.queries)
    with pytest.raises(ValueError, match="10 rows, one a text"):
        mine_pairs(log, texts, vectors[:2])


def test_the_aligned_encoder_is_its_formula_in_any_batch_and_after_loading(tmp_path: Path) -> None:
    texts = [item.title for item in ITEMS] * 3
    plain = TfidfEncoder.fit(texts, 4, 0)
    weight = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32)
    aligned = AlignedEncoder(plain, weight)
    e = plain.encode(texts)
    expected = e + e @ weight
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(aligned.encode(texts), expected, atol=1e-6)
    alone = np.concatenate([aligned.encode([text]) for text in texts])
    np.testing.assert_array_equal(aligned.encode(texts), alone)
    assert not aligned.encode([""]).any()
    aligned.save(tmp_path)
    np.testing.assert_array_equal(load_text_encoder(tmp_path).encode(texts), alone)
    (tmp_path / "adapter.safetensors").write_bytes(b"other")
    with pytest.raises(FormatError, match="differs from its checksum"):
        load_text_encoder(tmp_path)
    with pytest.raises(ValueError, match=r"weight: expected shape \(4, 4\), got shape \(3, 4\)"):
        AlignedEncoder(plain, weight[:3])
    with pytest.raises(ValueError, match="finite"):
        AlignedEncoder(plain, weight * np.inf)


def write_dataset(folder: Path) -> Path:
    dataset = a_dataset()
    folder.mkdir()
    items = [{"item_id": item.item_id, "title": item.title} for item in dataset.items]
    names = ("user_id", "time", "item_id", "event", "query")
    rows = [{name: getattr(row, name) for name in names} for row in dataset.interactions]
    for name, records in (("items", items), ("interactions", rows)):
        text = "\n".join(json.dumps(record) for record in records)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_the_verb_writes_an_encoder_for_build_sids(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_dataset(tmp_path / "data"), tmp_path / "aligned"
    command = ["align-embeddings", str(data), "--out", str(out), "--min-similarity", "0"]
    assert main([*command, "--steps", "20", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["pairs"]["query_item"] > 0
    assert set(document["losses"]) <= set(document["pairs"])
    assert main(["build-sids", str(data), "--out", str(tmp_path / "s"), "--encoder", str(out)]) == 0
    capsys.readouterr()
    assert main([*command, "--steps", "2", "--tasks", "item_item", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["losses"]) == {"item_item"}
    assert main([*command, "--steps", "2"]) == 0
    assert "query_item" in capsys.readouterr().out


def write_two_orders(folder: Path) -> Path:
    """Data in the form of Beauty, whose two orders hold out different items."""
    folder.mkdir()
    rows = [f"{n}\tX{n}\t{item.title}\tAcme\tHome" for n, item in enumerate(ITEMS)]
    files = {"items": "\n".join(("item_id\tasin\ttitle\tbrand\tcategories", *rows))}
    for name, taken in (("sequences", "0 1 2 3"), ("sequences_day_shuffled", "3 2 1 0")):
        users = [f"{user}\t{taken}\t1 2 3 4" for user in (7, 8)]
        files[name] = "\n".join(("user_id\titem_ids\ttimestamps", *users))
    for name, text in files.items():
        (folder / f"{name}.tsv.gz").write_bytes(gzip.compress(f"{text}\n".encode()))
    return folder


def test_an_encoder_is_refused_for_another_order_of_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = str(write_two_orders(tmp_path / "data")), str(tmp_path / "aligned")
    order = ["--order", "canonical"]
    command = ["align-embeddings", data, "--out", out, "--min-similarity", "-1", "--steps", "2"]
    assert main([*command, *order]) == 0
    log = leave_last_out(read_dataset(data, order="canonical")).log
    assert read_settings(out)["training_log"] == log.content_hash()
    use = ["build-sids", data, "--out", str(tmp_path / "s"), "--encoder", out]
    assert main([*use, *order]) == 0
    capsys.readouterr()
    again = ["align-embeddings", data, "--out", str(tmp_path / "b"), "--encoder", out]
    for refused in (use, again):
        assert main(refused) == 2
        assert "give the data and --order that it was aligned with" in capsys.readouterr().err
    load_text_encoder(out).save(tmp_path / "copy")
    assert main([*use[:-1], str(tmp_path / "copy")]) == 2


def test_the_verb_refuses_what_it_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_dataset(tmp_path / "data"), str(tmp_path / "aligned")
    assert main(["align-embeddings", str(data), "--out", str(data)]) == 2
    assert "a new folder" in capsys.readouterr().err
    assert main(["align-embeddings", str(data), "--out", out, "--tasks", "item,order"]) == 2
    assert "expected some of query_query" in capsys.readouterr().err
    assert main(["align-embeddings", str(data), "--out", out, "--fine-tune"]) == 2
    assert "of kind transformers" in capsys.readouterr().err
    assert not Path(out).exists()
