"""A served model goes on with a new piece of log, its catalogue changed, and is published whole."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from onesearch_fast.data.records import Item
from onesearch_fast.data.split import TrainLog, leave_last_out
from onesearch_fast.data.synthetic import make_synthetic
from onesearch_fast.engine.requests import SearchRequest
from onesearch_fast.engine.searcher import Searcher
from onesearch_fast.engine.served_model import ServedModel
from onesearch_fast.train.config import ThoughtConfig, smoke_config
from onesearch_fast.train.pipeline import run_pipeline
from onesearch_fast.train.update import update_config, update_served


@pytest.fixture(scope="module")
def split():
    return leave_last_out(make_synthetic(seed=3, num_items=200, num_users=40).dataset)


@pytest.fixture(scope="module")
def served(split, tmp_path_factory):
    plain = smoke_config()
    config = replace(plain, stages=plain.stages[1:2], thoughts=None)
    return run_pipeline(split, config, tmp_path_factory.mktemp("run")).served_folder


def one_day(split) -> TrainLog:
    """A few users, one item gone and one new."""
    gone = {event.row for event in split.log.histories[0].events}
    row = next(row for row in range(200) if row not in gone)
    items = list(split.log.items)
    items[row] = Item("new", "a brand new red dress", category=("women", "dresses"))
    return TrainLog(tuple(items), split.log.histories[:1])


def test_an_update_is_published_with_its_new_items(split, served, tmp_path):
    log = one_day(split)
    out = update_served(served, log, tmp_path / "run", tmp_path / "served")
    ServedModel.load(out)
    before, after = (load_file(folder / "model.safetensors") for folder in (served, out))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    searcher = Searcher.load(out)
    (hits,) = searcher.search([SearchRequest("brand new red dress")], k=200, num_beams=256)
    assert "new" in {hit.item_id for hit in hits}


def test_the_same_update_again_does_no_work(split, served, tmp_path):
    config = replace(update_config(), stages=update_config().stages[:1])
    arguments = (served, one_day(split), tmp_path / "run", tmp_path / "served", config)
    update_served(*arguments)
    stage = tmp_path / "run" / "stage_1_personalisation" / "model.safetensors"
    made = stage.stat().st_mtime_ns
    update_served(*arguments)
    assert stage.stat().st_mtime_ns == made
    with pytest.raises(ValueError, match="differs in config"):
        update_served(*arguments[:4], replace(config, thoughts=ThoughtConfig()))


def test_a_language_model_is_known_by_what_its_folder_holds(split, served, tmp_path):
    folder = tmp_path / "language_model"
    folder.mkdir()
    config = replace(update_config(), thoughts=ThoughtConfig(str(folder)))
    arguments = (served, one_day(split), tmp_path / "run", tmp_path / "served", config)
    with pytest.raises((OSError, ValueError)):
        update_served(*arguments)  # there is no model yet
    (folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="differs in thought_model"):
        update_served(*arguments)


def test_a_day_without_searches_is_refused_before_anything_is_made(split, served, tmp_path):
    log = one_day(split)
    (history,) = log.histories
    silent = replace(history, events=tuple(replace(one, query=None) for one in history.events))
    with pytest.raises(ValueError, match="expected a log with queries"):
        update_served(served, replace(log, histories=(silent,)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_day_without_events_is_refused(split, served, tmp_path):
    with pytest.raises(ValueError, match="log: expected at least one click or order"):
        update_served(served, TrainLog(split.log.items, ()), tmp_path)
