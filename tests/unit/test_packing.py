import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.data.prompts import Row
from onesearch_fast.train.rows import TokenRows, make_batch, plan_batches


def rows_of(lengths, learnt_from: int = 1) -> TokenRows:
    packed, token = [], 1
    for length in lengths:
        ids = list(range(token, token + length))
        packed.append(Row(ids, [place >= learnt_from for place in range(length)]))
        token += length
    return TokenRows.pack(packed)


LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60)


def test_packing_keeps_rows_apart():
    rows = rows_of([3, 1, 2])
    assert rows.ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert rows.begin.tolist() == [0, 3, 4, 6]
    assert rows.learnt.tolist() == [False, True, True, False, False, True]
    both = TokenRows.concatenate([rows, rows])
    assert both.lengths.tolist() == [3, 1, 2, 3, 1, 2]
    assert both.num_labels.sum() == 6


def test_no_rows_pack_to_nothing():
    assert len(TokenRows.pack([])) == 0
    assert len(TokenRows.concatenate([])) == 0


def test_a_batch_predicts_each_label_from_the_place_before_it():
    rows = rows_of([4, 2])
    batch = make_batch(rows, np.array([1, 0]), pad_id=0)
    assert batch.input_ids.tolist() == [[5, 6, 0, 0], [1, 2, 3, 4]]
    assert batch.labels.tolist() == [6, 2, 3, 4]
    before = batch.input_ids.reshape(-1)[batch.positions]
    assert before.tolist() == [5, 1, 2, 3]


def test_a_first_token_is_never_a_label():
    batch = make_batch(rows_of([2, 3], learnt_from=0), np.array([0, 1]), pad_id=0)
    assert batch.labels.tolist() == [2, 4, 5]
    assert batch.positions.min() >= 0


@given(lengths=LENGTHS, seed=st.integers(0, 5))
def test_every_row_is_visited_once_an_epoch(lengths, seed):
    rows = rows_of(lengths)
    plan = plan_batches({"task": rows.lengths}, {"task": 1.0}, 64, epochs=2, seed=seed)
    seen = np.bincount(np.concatenate(plan), minlength=len(lengths))
    assert seen.tolist() == [2] * len(lengths)


@given(lengths=LENGTHS, budget=st.integers(1, 200))
def test_a_batch_stays_in_its_budget_unless_it_is_one_row(lengths, budget):
    rows = rows_of(lengths)
    for chosen in plan_batches({"task": rows.lengths}, {"task": 1.0}, budget, epochs=1, seed=0):
        padded = len(chosen) * rows.lengths[chosen].max()
        assert padded <= budget or len(chosen) == 1


def test_visits_weigh_the_tasks_evenly_over_epochs():
    tasks = {"often": rows_of([2] * 30).lengths, "rarely": rows_of([2] * 40).lengths}
    visits = {"often": 1.5, "rarely": 0.25}
    plan = plan_batches(tasks, visits, tokens_per_batch=16, epochs=4, seed=1)
    seen = np.bincount(np.concatenate(plan), minlength=70)
    assert seen[:30].tolist() == [6] * 30
    assert seen[30:].tolist() == [1] * 40


def test_rows_of_like_length_share_a_batch():
    rng = np.random.default_rng(0)
    rows = rows_of(rng.integers(10, 200, 2000))
    plan = plan_batches({"task": rows.lengths}, {"task": 1.0}, 4096, epochs=1, seed=0)
    padded = sum(len(chosen) * int(rows.lengths[chosen].max()) for chosen in plan)
    assert padded < 1.1 * rows.ids.size


def test_the_plan_depends_on_the_seed_alone():
    tasks = {"task": rows_of([3, 4, 5, 6] * 20).lengths}

    def plan(seed):
        batches = plan_batches(tasks, {"task": 1.0}, 32, epochs=2, seed=seed)
        return [chosen.tolist() for chosen in batches]

    assert plan(0) == plan(0)
    assert plan(0) != plan(1)


def test_a_budget_below_one_token_is_refused():
    with pytest.raises(ValueError, match="tokens_per_batch: expected at least 1, got 0"):
        plan_batches({"task": rows_of([2]).lengths}, {"task": 1.0}, 0, 1, 0)
