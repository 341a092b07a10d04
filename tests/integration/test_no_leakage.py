"""Nothing that is fitted may see the held-out events: altering them leaves every artefact alike."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from onesearch_fast.data.long_history import LongHistoryConfig
from onesearch_fast.data.records import Dataset, Interaction, Item
from onesearch_fast.data.split import leave_last_out, session_starts, user_logs
from onesearch_fast.data.synthetic import make_synthetic
from onesearch_fast.train.config import (
    DpoConfig,
    PipelineConfig,
    PolicyConfig,
    StageConfig,
    TowersConfig,
    smoke_config,
)
from onesearch_fast.train.pipeline import run_pipeline

# What says when it was made, and what the stopping cases are allowed to show.
NOT_FITTED = {"run.json", "steps", "curves.json", "curves.png"}


@pytest.fixture(scope="module")
def dataset():
    return make_synthetic(seed=5, num_items=250, num_users=80, sessions_per_user=8.0).dataset


def artefacts(run_folder) -> dict[str, str]:
    """Checksum of every fitted file of a run, by its place."""
    found = {}
    for file in sorted(run_folder.rglob("*")):
        place = file.relative_to(run_folder)
        if file.is_file() and not NOT_FITTED & {place.parts[0], place.name}:
            found[str(place)] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def with_other_held_out(dataset: Dataset) -> Dataset:
    """Every user's target becomes another item with another query, and its session other shows.

    The other item is one that the user was shown before and did not take, where there is one: what
    is fitted must not tell which of the two is held out.
    """
    targets = {case.user_id: case.target_row for case in leave_last_out(dataset).cases["search"]}
    rows = []
    for user_id, log in user_logs(dataset.interactions).items():
        target = targets.get(user_id)
        rows += log if target is None else _altered(log, target, dataset.items)
    return replace(dataset, interactions=tuple(rows))


def _altered(log: list[Interaction], target: int, items: Sequence[Item]) -> list[Interaction]:
    old = items[target].item_id
    first = next(n for n, row in enumerate(log) if row.item_id == old and row.event != "show")
    start = session_starts(log)[first]
    taken = {row.item_id for row in log if row.event != "show"}
    before = [row.item_id for row in log[:start]]
    new = next(one for one in (*before, *(item.item_id for item in items)) if one not in taken)
    query = f"something else {new}"
    others = (item.item_id for item in reversed(items))
    return [
        *log[:start],
        *(
            replace(row, item_id=new if row.item_id == old else next(others), query=query)
            for row in log[start:]
            if row.event == "show" or row.item_id == old
        ),
    ]


@pytest.fixture(scope="module")
def datasets(dataset) -> tuple[Dataset, Dataset]:
    return dataset, with_other_held_out(dataset)


def config_of_everything() -> PipelineConfig:
    """Every stage and every part of a prompt that reads the log."""
    smoke = smoke_config()
    alignment, cooccurrence, personalisation = smoke.stages
    dpo = DpoConfig(towers=TowersConfig(epochs=1), candidates=16)
    stages = (
        alignment,
        replace(cooccurrence, tasks={"query_to_item": 0.5}),
        StageConfig("any_order", {"search": 0.25}, tokens_per_batch=1024, validations=1),
        replace(personalisation, epochs=1),
        StageConfig("preference", {"search": 0.1}, dpo=dpo),
        StageConfig("preference", {"search": 0.1}, policy=PolicyConfig(rollouts=4)),
    )
    past = LongHistoryConfig(num_vectors=2, num_heads=2)
    prompts = replace(smoke.prompts, user_ids=True, long_history=past)
    return replace(smoke, prompts=prompts, stages=stages)


@pytest.fixture(scope="module")
def runs(datasets, tmp_path_factory):
    """Two runs, of a log and of one that differs in what is held out alone."""
    config = config_of_everything()
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for folder, data in zip(folders, datasets, strict=True):
        run_pipeline(leave_last_out(data), config, folder)
    return folders


def test_altered_held_out_events_leave_every_artefact_alike(runs):
    one, two = map(artefacts, runs)
    stages = [f"stage_{n}_{one.name}" for n, one in enumerate(config_of_everything().stages, 1)]
    fitted = ("text_encoder", "codebooks", "tokenizer", "thoughts", "initial_model", *stages)
    for kind in (*fitted, "sid_trie", "query_items", "long_history"):
        assert any(kind in place for place in one), f"{kind} is not among what is compared"
    assert one == two


def test_stopping_cases_show_in_the_validation_curve_only(runs):
    curves = [json.loads((run / "curves.json").read_text()) for run in runs]
    one, two = (curve["stage_4_personalisation"] for curve in curves)
    assert one["validations"][0]["loss"] != two["validations"][0]["loss"]
    assert [p["loss"] for p in one["points"]] == [p["loss"] for p in two["points"]]


def test_other_held_out_rows_give_the_same_log(datasets):
    """From the rows of a data set on: what becomes the target of a user leaves no trace."""
    one, two = map(leave_last_out, datasets)
    assert one.log.shown and one.log.content_hash() == two.log.content_hash()
    for case, other in zip(one.cases["search"], two.cases["search"], strict=True):
        assert case.history == other.history
        assert case.target_row != other.target_row and case.query != other.query
