"""The three-tower reward model."""

import math

import numpy as np
import pytest
import torch

from onesearch_fast.data.records import item_text
from onesearch_fast.data.split import leave_last_out
from onesearch_fast.data.synthetic import make_synthetic
from onesearch_fast.sid.tfidf_encoder import TfidfEncoder
from onesearch_fast.train.config import TowersConfig
from onesearch_fast.train.rewards.behaviour import query_sessions
from onesearch_fast.train.rewards.relevance import CategoryRelevance
from onesearch_fast.train.rewards.towers import (
    RewardModel,
    Towers,
    moved_by,
    tower_loss,
)


def test_loss_by_hand():
    zeros = torch.zeros(2, 3)
    clicked, ordered = torch.tensor([True, False]), torch.tensor([True, False])
    assert tower_loss(zeros, clicked, ordered).item() == pytest.approx(3 * math.log(2))
    nothing = torch.tensor([False, False])
    assert tower_loss(zeros, nothing, nothing).item() == pytest.approx(2 * math.log(2))


def test_a_user_without_a_past_is_sound():
    torch.manual_seed(0)
    towers = Towers(4, 8)
    query, item, past = torch.randn(2, 4), torch.randn(2, 4), torch.randn(2, 3, 4)
    none, some = torch.tensor([0, 0]), torch.tensor([2, 2])
    assert torch.isfinite(towers(query, item, past, none)).all()
    assert torch.equal(towers(query, item, past, none), towers(query, item, 9 * past, none))
    changed = past.clone()
    changed[:, 2] = 7.0  # beyond the length
    torch.testing.assert_close(towers(query, item, past, some), towers(query, item, changed, some))


def test_what_was_wanted_scores_above_what_was_not():
    log = leave_last_out(make_synthetic(seed=3, num_items=200, num_users=80).dataset).log
    encoder = TfidfEncoder.fit([item_text(item) for item in log.items], 32, 0)
    vectors = encoder.encode([item_text(item) for item in log.items])
    sessions = query_sessions(log)
    queries = sorted({one.query for one in sessions})
    of_query = dict(zip(queries, encoder.encode(queries), strict=True))
    model = RewardModel(log, vectors, of_query, CategoryRelevance(log), TowersConfig(epochs=4))
    means = model.fit(sessions)
    assert means[-1] < means[0]
    better = [
        model.score(one, [one.wanted[0].row])[0]
        > np.mean(model.score(one, [other.row for other in one.unwanted]))
        for one in sessions[:100]
        if one.unwanted
    ]
    assert np.mean(better) > 0.8


def test_items_that_move_up_and_down():
    up, down = moved_by([10, 11, 12, 13], np.array([1.0, 4.0, 2.0, 2.0]))
    # By score: 11, 12, 13, 10. 12 was third and is second, 13 was fourth and is third.
    assert up == [11, 12, 13]
    assert down == [10]
    assert moved_by([], np.zeros(0)) == ([], [])
    assert moved_by([3, 4], np.array([1.0, 1.0])) == ([], [])


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="hidden_size"):
        TowersConfig(hidden_size=0)
    with pytest.raises(ValueError, match="weights: expected four"):
        TowersConfig(weights=(1.0,))
