from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.data.records import Item
from onesearch_fast.data.split import EvalCase, Event, TrainLog, UserHistory
from onesearch_fast.evaluate.baselines import BaselineContext, fit_baselines
from onesearch_fast.evaluate.baselines.sasrec import (
    SasRec,
    SasRecConfig,
    _loss,
    _windows,
    train_sasrec,
)
from onesearch_fast.evaluate.ranking import TieOrder

NUM_ITEMS = 12
SMALL = SasRecConfig(
    hidden_size=16, num_layers=1, max_history=5, dropout=0.0, batch_size=8, epochs=30
)
ITEMS = tuple(
    Item(f"i{n}", f"thing {n}", None, ("even" if n % 2 == 0 else "odd",)) for n in range(NUM_ITEMS)
)
TIES = TieOrder([item.item_id for item in ITEMS])


def events(rows, query=None):
    return tuple(Event(place, row, "click", query) for place, row in enumerate(rows))


def case(rows, target, group="stop", query=None):
    return EvalCase("u", None, events(rows), query, None, target, group, 0, 0)


def around(first, length):
    """Items in a ring: each is followed by the next but two."""
    return [(first + 3 * step) % NUM_ITEMS for step in range(length)]


LOG = TrainLog(
    ITEMS, tuple(UserHistory(f"u{n}", None, events(around(n, 3))) for n in range(NUM_ITEMS))
)
QUICK = replace(SMALL, epochs=2)


def test_it_learns_who_follows_whom():
    model = train_sasrec(LOG, [], TIES, replace(SMALL, learning_rate=0.01, epochs=60))
    scores = model.scores([case([n], 0) for n in range(NUM_ITEMS)])
    assert scores.argmax(axis=1).tolist() == [(n + 3) % NUM_ITEMS for n in range(NUM_ITEMS)]


def test_a_state_depends_on_earlier_events_alone():
    torch.manual_seed(0)
    model = SasRec(NUM_ITEMS, SMALL).eval()
    one, two = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 2, 9, 8]])
    torch.testing.assert_close(model(one)[:, :2], model(two)[:, :2])
    assert not torch.allclose(model(one)[:, 2:], model(two)[:, 2:])


def test_scores_do_not_depend_on_the_batch_or_on_forgotten_events():
    torch.manual_seed(1)
    model = SasRec(NUM_ITEMS, SMALL)
    cases = [case([1], 0), case([], 0), case([7, 8, 1, 2, 3, 4, 5], 0), case([2, 3, 4], 0)]
    together = model.scores(cases)
    alone = np.concatenate([model.scores([one]) for one in cases])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert not together[1].any() and together[[0, 2, 3]].any(axis=1).all()
    np.testing.assert_allclose(together[2], model.scores([case([1, 2, 3, 4, 5], 0)])[0], atol=1e-6)


def test_the_loss_is_the_mean_cross_entropy_over_the_catalogue():
    torch.manual_seed(2)
    model = SasRec(NUM_ITEMS, SMALL).eval()
    windows = [[1, 2, 3], [4, 5]]
    expected = []
    for window in windows:
        for end in range(1, len(window)):
            logits = model.scores([case(window[:end], 0)])[0].astype(np.float64)
            expected.append(np.log(np.exp(logits).sum()) - logits[window[end]])
    assert _loss(model, windows).item() == pytest.approx(np.mean(expected), abs=1e-5)


@given(st.integers(0, 23), st.integers(1, 6))
def test_every_event_but_the_first_is_a_target_once(length, max_history):
    log = replace(LOG, histories=(UserHistory("u", None, events(range(length))),))
    windows = list(_windows(log, max_history))
    assert sorted(row for window in windows for row in window[1:]) == list(range(1, length))
    assert all(2 <= len(window) <= max_history + 1 for window in windows)
    assert all(window == list(range(window[0], window[-1] + 1)) for window in windows)


def test_a_seed_gives_its_weights():
    one, same, other = (
        train_sasrec(LOG, [], TIES, replace(QUICK, dropout=0.3, seed=seed)).items.weight
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_the_best_weights_on_the_stop_group_are_kept():
    stop = [case(around(n, 2), (n + 6) % NUM_ITEMS) for n in range(NUM_ITEMS)]
    said: list[str] = []
    config = replace(SMALL, learning_rate=0.3, validations=5)
    model = train_sasrec(LOG, stop, TIES, config, said.append)
    found = [float(line.split("NDCG@10 ")[1].split()[0]) for line in said]
    ranks = [
        int((scores > scores[one.target_row]).sum())
        for one, scores in zip(stop, _without_history(model, stop), strict=True)
    ]
    kept = np.mean([1 / np.log2(2 + rank) for rank in ranks])
    assert len(found) == 5 and kept == pytest.approx(max(found), abs=1e-4)
    assert max(found) > min(found)


def _without_history(model, cases):
    scores = model.scores(cases)
    for one, row in zip(cases, scores, strict=True):
        row[[event.row for event in one.history]] = -np.inf
    return scores


def test_time_bounds_the_training():
    said: list[str] = []
    config = replace(SMALL, epochs=None, minutes=0.01)
    train_sasrec(LOG, [case([0], 3)], TIES, config, said.append)
    assert len(said) == 10 and said[-1].startswith("sasrec: 100%")


def test_in_search_the_query_s_category_comes_first():
    model = train_sasrec(LOG, [], TIES, QUICK)
    asked = case([0, 3], 6, "report", "odd")
    (ranker,) = fit_baselines(BaselineContext(LOG, "search", (), sasrec=model), ["sasrec"])
    ranked = ranker.rank([asked], NUM_ITEMS)[0]
    assert [row % 2 for row in ranked if row >= 0] == [1] * 5 + [0] * 5
    names = {ranker.name for ranker in fit_baselines(BaselineContext(LOG, "next_item", ()))}
    assert "sasrec" not in names
    with pytest.raises(ValueError, match="a context with sasrec"):
        fit_baselines(BaselineContext(LOG, "next_item", ()), ["sasrec"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_size", 15),
        ("num_layers", 0),
        ("dropout", 1.0),
        ("epochs", 0),
        ("epochs", None),
        ("learning_rate", 0.0),
        ("minutes", 0.0),
        ("validations", -1),
    ],
)
def test_settings_that_mean_nothing_are_refused(name, value):
    with pytest.raises(ValueError, match=f"SasRecConfig: {name}"):
        replace(SMALL, **{name: value})


def test_a_log_without_a_pair_of_events_is_refused():
    log = replace(LOG, histories=(UserHistory("u", None, events([1])),))
    with pytest.raises(ValueError, match="a user with two events"):
        train_sasrec(log, [], TIES, SMALL)
