"""Nothing that is fitted may see the held-out events: altering them leaves every artefact alike."""

import hashlib
import json
from dataclasses import replace

import pytest

from onesearch_fast.data.split import EvalCase, leave_last_out
from onesearch_fast.data.synthetic import make_synthetic
from onesearch_fast.train.config import smoke_config
from onesearch_fast.train.pipeline import run_pipeline

# What says when it was made, and what the stopping cases are allowed to show.
NOT_FITTED = {"run.json", "steps", "curves.json", "curves.png"}


@pytest.fixture(scope="module")
def dataset():
    return make_synthetic(seed=5, num_items=250, num_users=120).dataset


def artefacts(run_folder) -> dict[str, str]:
    """Checksum of every fitted file of a run, by its place."""
    found = {}
    for file in sorted(run_folder.rglob("*")):
        place = file.relative_to(run_folder)
        if file.is_file() and not NOT_FITTED & {place.parts[0], place.name}:
            found[str(place)] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def altered(case: EvalCase, num_items: int) -> EvalCase:
    """The same user with another target and another query."""
    taken = {event.row for event in case.history}
    target = next(row for row in range(num_items) if row not in taken and row != case.target_row)
    query = None if case.query is None else f"something else {target}"
    return replace(case, target_row=target, query=query)


@pytest.fixture(scope="module")
def runs(dataset, tmp_path_factory):
    """Two runs, of the split and of the same log with other held-out cases."""
    split = leave_last_out(dataset)
    cases = {
        task: tuple(altered(case, len(split.log.items)) for case in of)
        for task, of in split.cases.items()
    }
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for folder, data in zip(folders, (split, replace(split, cases=cases)), strict=True):
        run_pipeline(data, smoke_config(), folder)
    return folders


def test_altered_held_out_events_leave_every_artefact_alike(runs):
    one, two = map(artefacts, runs)
    fitted = ("text_encoder", "codebooks", "tokenizer", "thoughts", "initial_model", "stage_3")
    for kind in (*fitted, "sid_trie"):
        assert any(kind in place for place in one), f"{kind} is not among what is compared"
    assert one == two


def test_stopping_cases_show_in_the_validation_curve_only(runs):
    curves = [json.loads((run / "curves.json").read_text()) for run in runs]
    one, two = (curve["stage_3_personalisation"] for curve in curves)
    assert one["validations"][0]["loss"] != two["validations"][0]["loss"]
    assert [p["loss"] for p in one["points"]] == [p["loss"] for p in two["points"]]


def test_another_target_row_gives_the_same_log(dataset):
    """From the rows of a data set on: what becomes the target of a user leaves no trace."""
    split = leave_last_out(dataset)
    case = split.cases["search"][0]
    old = split.log.items[case.target_row].item_id
    new = split.log.items[altered(case, len(split.log.items)).target_row].item_id
    rows = tuple(
        replace(row, item_id=new, query="something else")
        if row.user_id == case.user_id and row.item_id == old
        else row
        for row in dataset.interactions
    )
    changed = leave_last_out(replace(dataset, interactions=rows))
    assert changed.cases["search"][0].query == "something else"
    assert changed.log.content_hash() == split.log.content_hash()
