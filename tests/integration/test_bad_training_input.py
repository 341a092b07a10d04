"""What cannot be trained is refused before time is spent; what is thin is trained all the same."""

from dataclasses import replace

import pytest

from onesearch_fast.data.split import leave_last_out
from onesearch_fast.data.synthetic import make_synthetic
from onesearch_fast.data.tokenizer import SidTokenizer
from onesearch_fast.errors import FormatError
from onesearch_fast.train.config import PolicyConfig, StageConfig, smoke_config
from onesearch_fast.train.pipeline import run_pipeline


@pytest.fixture(scope="module")
def dataset():
    return make_synthetic(seed=3, num_items=200, num_users=20).dataset


def test_a_log_without_queries_cannot_teach_searching(dataset, tmp_path):
    rows = tuple(replace(row, query=None) for row in dataset.interactions)
    split = leave_last_out(replace(dataset, interactions=rows))
    with pytest.raises(
        ValueError, match=r"stage 'alignment': tasks .* expected a log with queries"
    ):
        run_pipeline(split, smoke_config(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_orders_one_event_users_and_unknown_queries_are_learnt_from(dataset, tmp_path):
    """Clicks alone; users of one event; queries that nobody else asked have no keywords."""
    clicks = [row for row in dataset.interactions if row.event == "click"]
    lonely = [
        replace(row, user_id=f"lonely {n}", query=f"zz {n}") for n, row in enumerate(clicks[:5])
    ]
    split = leave_last_out(replace(dataset, interactions=(*clicks, *lonely)))
    config = smoke_config()
    last = StageConfig("preference", {"search": 0.5}, policy=PolicyConfig(rollouts=4))
    run = replace(config, stages=(*config.stages[2:], last))
    result = run_pipeline(split, run, tmp_path)
    assert (result.served_folder / "manifest.json").is_file()


def test_a_tokenizer_without_codes_is_refused(tmp_path):
    texts = ["red dress", "blue boots"]
    tokenizer = SidTokenizer.train(texts, 300, (4, 4), 2, ())
    tokenizer.hf.save_pretrained(tmp_path)
    with pytest.raises(FormatError, match="this tokenizer has no code tokens"):
        SidTokenizer.load(tmp_path)
