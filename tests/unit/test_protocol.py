from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from onesearch_fast.cli.main import main
from onesearch_fast.data.readers import read_dataset
from onesearch_fast.data.records import Dataset, Interaction, Item, User
from onesearch_fast.data.split import EvalCase, Event, Split, TrainLog, leave_last_out
from onesearch_fast.errors import DataError
from onesearch_fast.evaluate.generative import GenerativeRanker
from onesearch_fast.evaluate.holdout import with_holdout
from onesearch_fast.evaluate.protocol import evaluate
from onesearch_fast.evaluate.served import evaluate_served, sample_reported
from onesearch_fast.evaluate.slices import slices_of
from onesearch_fast.sid.tfidf_encoder import TfidfEncoder

NUM_ITEMS = 30
ITEMS = tuple(Item(f"i{n}", f"item {n}") for n in range(NUM_ITEMS))


def case(user, target, history=(), group="report", query="q", kind=None, counts=(0, 0)):
    events = tuple(Event(place, row, "click", None) for place, row in enumerate(history))
    return EvalCase(f"u{user}", None, events, query, kind, target, group, *counts)


def split_of(cases):
    return Split("tiny", TrainLog(ITEMS, ()), {"search": tuple(cases)})


class Fixed:
    """Ranks rows 0, 1, 2, ... for everyone, history removed; `put` replaces the first entry."""

    def __init__(self, name="fixed", put=None, width=None, shift=0):
        self.name, self.put, self.width, self.shift = name, put, width, shift

    def rank(self, cases, k):
        ranked = np.full((len(cases), self.width or k), -1, dtype=np.int32)
        for index, one in enumerate(cases):
            seen = {event.row for event in one.history}
            rows = [(row + self.shift) % NUM_ITEMS for row in range(NUM_ITEMS)]
            rows = [row for row in rows if row not in seen][: ranked.shape[1]]
            ranked[index, : len(rows)] = rows
            if self.put is not None:
                ranked[index, 0] = self.put
        return ranked


CASES = [case(user, user % 12, history=(29,), counts=(user, user)) for user in range(24)]
STOP = [case(100 + user, 3, group="stop") for user in range(5)]


def test_metrics_have_the_documented_form_and_values():
    report = evaluate({"search": [Fixed()]}, split_of(CASES + STOP), ks=(1, 10))
    metrics = report.metrics_json()
    assert list(metrics) == ["fixed"]
    assert list(metrics["fixed"]) == ["search/tiny"]
    value, low, high = metrics["fixed"]["search/tiny"]["hr@10"]
    assert value == pytest.approx(20 / 24)  # targets 0..9 twice, of 0..11 twice
    assert low <= value <= high
    assert set(metrics["fixed"]["search/tiny"]) == {
        f"{name}@{k}" for name in ("hr", "mrr", "ndcg", "recall") for k in (1, 10)
    }
    assert report.meta["num_cases"] == {"search": 24}
    assert report.meta["table"] == "quick table (one seed)"
    json.dumps(report.report_json(), allow_nan=False)


def test_groups_are_kept_apart():
    report = evaluate({"search": [Fixed()]}, split_of(CASES + STOP), ks=(1, 10), group="stop")
    assert report.metrics["fixed"]["search/tiny"]["hr@10"][0] == 1.0
    assert report.meta["num_cases"] == {"search": 5}


def test_differences_are_paired_against_the_generative_model():
    rankers = [Fixed("worse", shift=5), Fixed("onesearch")]
    report = evaluate({"search": rankers}, split_of(CASES), ks=(1, 10))
    assert report.references == {"search/tiny": "onesearch"}
    (name,) = report.paired["search/tiny"]
    assert name == "worse"
    value = report.paired["search/tiny"]["worse"]["hr@10"][0]
    ours, theirs = (report.metrics[n]["search/tiny"]["hr@10"][0] for n in ("onesearch", "worse"))
    assert value == pytest.approx(ours - theirs)


def test_equal_seeds_give_equal_reports():
    rankers = {"search": [Fixed(), Fixed("other", shift=1)]}
    first, second = (evaluate(rankers, split_of(CASES), ks=(5,), seed=3) for _ in range(2))
    assert first.metrics == second.metrics and first.paired == second.paired
    assert first.slices == second.slices


def test_slices_follow_counts_and_kinds():
    cases = [
        case(0, 1, history=(), kind="head", counts=(0, 0)),
        case(1, 1, history=range(2, 7), kind="tail", counts=(9, 4)),
        case(2, 1, history=range(2, 22), kind="tail", counts=(10, 5)),
        case(3, 1, query=None),
    ]
    found = {(one.family, one.label): one.cases.tolist() for one in slices_of(cases)}
    assert found == {
        ("query_kind", "head"): [0],
        ("query_kind", "tail"): [1, 2],
        ("query_frequency", "0"): [0],
        ("query_frequency", "1-9"): [1],
        ("query_frequency", ">=10"): [2],
        ("item_warmth", "0"): [0, 3],
        ("item_warmth", "1-4"): [1],
        ("item_warmth", ">=5"): [2],
        ("user_warmth", "0-4"): [0, 3],
        ("user_warmth", "5-19"): [1],
        ("user_warmth", ">=20"): [2],
    }
    report = evaluate({"search": [Fixed()]}, split_of(cases), ks=(1, 10))
    tail = report.slices["fixed"]["search/tiny"]["query_kind"]["tail"]
    assert tail.num_cases == 2 and tail.metrics["hr@10"] == [1.0, 1.0, 1.0]


class Measuring(Fixed):
    def case_values(self, cases):
        values = np.full(len(cases), np.nan)
        values[:4] = [1, 1, 1, 0]
        return {"valid_sid_rate": values}


def test_a_ranker_can_report_values_of_its_own_on_a_sample():
    report = evaluate({"search": [Measuring()]}, split_of(CASES), ks=(1,))
    value, low, high = report.metrics["fixed"]["search/tiny"]["valid_sid_rate"]
    assert value == 0.75 and 0 <= low <= value <= high <= 1


@pytest.mark.parametrize(
    ("ranker", "message"),
    [
        (Fixed("short", width=3), "ranker 'short': rank: expected integers \\[24, 10\\]"),
        (Fixed("twice", put=5), "ranker 'twice': rank: expected no item twice"),
        (Fixed("seen", put=29), "ranker 'seen': rank: expected no item of the history"),
        (Fixed("beyond", put=NUM_ITEMS), "ranker 'beyond': rank: expected rows in"),
        (Fixed("below", put=-2), "ranker 'below': rank: expected rows in"),
        (Fixed("gap", put=-1), "ranker 'gap': rank: expected padding"),
    ],
)
def test_a_broken_ranker_is_named(ranker, message):
    with pytest.raises(ValueError, match=message):
        evaluate({"search": [ranker]}, split_of(CASES), ks=(1, 10))


@pytest.mark.parametrize(
    ("cases", "rankers", "ks", "message"),
    [
        (CASES, {}, (1,), "at least one task"),
        (CASES, {"other": [Fixed()]}, (1,), "tasks of \\['search'\\]"),
        (CASES, {"search": []}, (1,), "distinct names"),
        (CASES, {"search": [Fixed(), Fixed()]}, (1,), "distinct names"),
        (CASES, {"search": [Fixed()]}, (0,), "distinct integers >= 1"),
        (STOP, {"search": [Fixed()]}, (1,), "report cases for task 'search', got none"),
        ([case(1, NUM_ITEMS)], {"search": [Fixed()]}, (1,), "of user 'u1'"),
        ([case(1, 2, history=(2,))], {"search": [Fixed()]}, (1,), "targets new to their user"),
    ],
)
def test_bad_input(cases, rankers, ks, message):
    with pytest.raises(ValueError, match=message):
        evaluate(rankers, split_of(cases), ks=ks)


# ---- the served model


class FakeSearcher:
    """Answers with the catalogue in order; three quarters of its free beams are valid."""

    training_log = None

    def __init__(self, item_ids):
        self.item_ids = item_ids
        self.asked = []

    def search_rows(self, requests, k, num_beams):
        self.asked += requests
        ranked = np.full((len(requests), k), -1, dtype=np.int32)
        for line, request in zip(ranked, requests, strict=True):
            past = {event.item_id for event in request.user.history}
            rows = [row for row, one in enumerate(self.item_ids) if one not in past][:num_beams]
            line[: len(rows[:k])] = rows[:k]
        return ranked

    def valid_sid_rates(self, requests, num_beams):
        return np.full(len(requests), 0.75)


ITEM_IDS = [item.item_id for item in ITEMS]


def test_the_served_model_is_asked_with_query_and_history():
    searcher = FakeSearcher(ITEM_IDS)
    ranker = GenerativeRanker(searcher, ITEMS, num_beams=3)
    event = Event(7, 1, "click", "old query")
    one = replace(case(0, 2, query="new query"), history=(event,), profile="adult")
    assert ranker.rank([one], 5).tolist() == [[0, 2, 3, -1, -1]]
    (request,) = searcher.asked
    assert (request.query, request.user.profile) == ("new query", "adult")
    assert [(e.item_id, e.query) for e in request.user.history] == [("i1", "old query")]


def test_the_valid_sid_rate_is_measured_on_a_sample(monkeypatch):
    monkeypatch.setattr("onesearch_fast.evaluate.generative.VALIDITY_CASES", 5)
    rates = GenerativeRanker(FakeSearcher(ITEM_IDS), ITEMS).case_values(CASES)["valid_sid_rate"]
    assert np.isnan(rates).sum() == len(CASES) - 5
    assert set(rates[~np.isnan(rates)]) == {0.75}


def test_a_model_of_another_catalogue_is_refused():
    with pytest.raises(ValueError, match="data that the model was trained on"):
        GenerativeRanker(FakeSearcher(ITEM_IDS[:-1]), ITEMS)
    with pytest.raises(ValueError, match="num_beams"):
        GenerativeRanker(FakeSearcher(ITEM_IDS), ITEMS, num_beams=0)


def test_served_model_and_baselines_stand_in_one_table():
    said = []
    report = evaluate_served(
        FakeSearcher([item.item_id for item in DATASET.items]),
        SPLIT,
        max_cases=1,
        ks=(1, 5),
        others={"search": [Fixed("oracle")]},
        say=said.append,
    )
    assert report.keys == ["search/shop", "next_item/shop"]
    assert {"onesearch", "oracle", "bm25", "item_knn_brand"} <= set(report.systems("search/shop"))
    assert "oracle" not in report.systems("next_item/shop")
    assert report.meta["num_cases"] == {"search": 1, "next_item": 1}
    assert report.metrics["onesearch"]["search/shop"]["valid_sid_rate"] == [0.75, 0.75, 0.75]
    assert "search: onesearch ranks 1 cases" in said
    assert "onesearch: 1 of 1 cases ranked" in said
    with pytest.raises(ValueError, match="tasks"):
        evaluate_served(FakeSearcher(ITEM_IDS), SPLIT, tasks=["browse"])


def test_a_sample_of_cases_is_seeded_and_keeps_the_stop_group():
    first, second = (sample_reported(split_of(CASES + STOP), 7, seed=2) for _ in range(2))
    assert first.cases == second.cases
    groups = [one.group for one in first.cases["search"]]
    assert (groups.count("report"), groups.count("stop")) == (7, 5)
    assert sample_reported(split_of(CASES), 100).cases["search"] == tuple(CASES)
    with pytest.raises(ValueError, match="max_cases"):
        sample_reported(split_of(CASES), 0)


# ---- targets from a file


def click(user, time, item, query=None):
    return Interaction(user, time, item, "click", query)


DATASET = Dataset(
    "shop",
    ITEMS,
    (User("a", "adult"), User("b")),
    (
        *(click("a", time, f"i{time}", f"query {time}") for time in (1, 2, 3)),
        *(click("b", time, f"i{time + 4}") for time in (1, 2)),
    ),
)
SPLIT = leave_last_out(DATASET, stop_fraction=0.0)


def holdout(tmp_path, *lines, split=SPLIT, dataset=DATASET):
    path = tmp_path / "holdout.jsonl"
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return with_holdout(split, dataset, path)


def test_holdout_targets_come_after_the_whole_log(tmp_path):
    found = holdout(tmp_path, {"user_id": "a", "item_id": "i9", "query": "query 1"}, "")
    (search,) = found.split.cases["search"]
    assert (search.target_row, search.query, search.profile) == (9, "query 1", "adult")
    assert [event.row for event in search.history] == [1, 2, 3]
    assert (search.query_count, search.item_count, search.group) == (1, 0, "report")
    (following,) = found.split.cases["next_item"]
    assert following == replace(search, query=None, query_count=0)
    assert found.split.log is SPLIT.log


def test_holdout_may_name_the_last_event_of_the_log_or_a_time(tmp_path):
    found = holdout(
        tmp_path,
        {"user_id": "a", "item_id": "i3", "query": "query 3"},
        {"user_id": "b", "item_id": "i20", "time": 1},
    )
    assert found.split.cases["search"] == SPLIT.cases["search"]
    first, second = found.split.cases["next_item"]
    assert [event.row for event in second.history] == [5]
    assert first.target_row == 3


def test_holdout_leaves_out_what_the_user_has_already(tmp_path):
    found = holdout(tmp_path, {"user_id": "a", "item_id": "i1"}, {"user_id": "b", "item_id": "i20"})
    assert found.num_repeats == 1
    assert [one.user_id for one in found.split.cases["next_item"]] == ["b"]


def test_holdout_keeps_the_stop_group_and_never_reports_it(tmp_path):
    stopped = replace(
        SPLIT,
        cases={
            task: tuple(replace(one, group="stop") for one in cases if one.user_id == "a")
            for task, cases in SPLIT.cases.items()
        },
    )
    rows = {"user_id": "a", "item_id": "i9"}, {"user_id": "b", "item_id": "i9"}
    found = holdout(tmp_path, *rows, split=stopped)
    assert found.num_stop == 1
    assert found.split.cases["search"] == stopped.cases["search"]
    stop, reported = found.split.cases["next_item"]
    assert stop == stopped.cases["next_item"][0]
    assert (reported.user_id, reported.group) == ("b", "report")
    with pytest.raises(DataError, match="0 in their user's history, 1 of stopping users"):
        holdout(tmp_path, rows[0], split=stopped)


def test_holdout_refuses_a_row_that_stands_twice(tmp_path):
    row = {"user_id": "b", "item_id": "i9", "query": "tea"}
    assert len(holdout(tmp_path, row, {**row, "query": "mug"}).split.cases["search"]) == 2
    with pytest.raises(DataError, match=r"holdout\.jsonl:3: line: .*same as holdout\.jsonl:1"):
        holdout(tmp_path, row, {**row, "query": "mug"}, row)


def test_holdout_queries_follow_data_whose_queries_are_category_paths(tmp_path):
    items = tuple(replace(item, category=("Wear", f"C{row % 2}")) for row, item in enumerate(ITEMS))
    log = tuple(click("a", time, f"i{time}", f"Wear > C{time % 2}") for time in (1, 2, 3))
    dataset = Dataset("paths", items, (), log)
    split = leave_last_out(dataset, stop_fraction=0.0)
    found = holdout(tmp_path, {"user_id": "a", "item_id": "i8"}, split=split, dataset=dataset)
    assert found.split.cases["search"][0].query == "Wear > C0"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"user_id": "z", "item_id": "i1"}, ":1: user_id: expected a user of the data folder"),
        ({"user_id": "a", "item_id": "j1"}, ":1: item_id: expected an item of the catalogue"),
        ({"user_id": "a"}, ":1: item_id: expected a string or an integer"),
        ({"user_id": "a", "item_id": "i9", "query": ""}, ":1: query: expected a non-empty"),
        ({"user_id": "a", "item_id": "i9", "time": "now"}, ":1: time: expected whole"),
        ({"user_id": "a", "item_id": "i9", "time": 1}, ":1: time: expected a target that comes"),
        ("{", ":1: line: expected one JSON object"),
        ("[]", ":1: line: expected a JSON object"),
        ("[" * 100_000, ":1: line: expected one JSON object"),
        ("", "no rows"),
    ],
)
def test_bad_holdout_rows_name_their_line(tmp_path, line, message):
    with pytest.raises(DataError, match=message):
        holdout(tmp_path, line)


# ---- the verb


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def served_and_data(tmp_path, monkeypatch):
    titles = [f"{word} {number}" for number in range(6) for word in ("red", "blue", "green")]
    TfidfEncoder.fit(titles, dim=4, seed=0).save(tmp_path / "served" / "text_encoder")
    data = tmp_path / "data"
    data.mkdir()
    ids = [f"i{n}" for n in range(len(titles))]
    write_jsonl(
        data / "items.jsonl",
        [{"item_id": one, "title": title} for one, title in zip(ids, titles, strict=True)],
    )
    write_jsonl(
        data / "interactions.jsonl",
        [
            {
                "user_id": f"u{user}",
                "time": time * 10_000,
                "item_id": ids[(user + 2 * time) % len(ids)],
                "event": "click",
                "query": titles[user % 3],
            }
            for user in range(40)
            for time in range(4)
        ],
    )
    monkeypatch.setattr(
        "onesearch_fast.engine.searcher.Searcher.load", lambda folder, device: FakeSearcher(ids)
    )
    return tmp_path / "served", data


def test_the_verb_prints_a_table_and_writes_pure_metrics(served_and_data, tmp_path, capsys):
    served, data = served_and_data
    out, written = tmp_path / "metrics.json", tmp_path / "run"
    arguments = ["evaluate", str(served), "--data", str(data), "--tasks", "search", "--cases", "20"]
    assert main([*arguments, "--json", str(out), "--out", str(written)]) == 0
    metrics = json.loads(out.read_text())
    assert metrics == json.loads((written / "metrics.json").read_text())
    assert {len(values) for values in metrics["onesearch"].values()} == {17}
    assert {"onesearch", "bm25", "dense", "popularity_in_category"} <= set(metrics)
    assert all(key.startswith("search/") for results in metrics.values() for key in results)
    assert "20 cases, quick table (one seed)" in capsys.readouterr().out


def test_the_verb_takes_targets_from_a_file(served_and_data, tmp_path, capsys):
    served, data = served_and_data
    rows = [{"user_id": f"u{n}", "item_id": f"i{(n + 9) % 18}", "query": "red"} for n in range(40)]
    holdout_file = tmp_path / "holdout.jsonl"
    write_jsonl(holdout_file, [*rows, {"user_id": "u1", "item_id": "i1"}])
    arguments = ["evaluate", str(served), "--data", str(data), "--holdout", str(holdout_file)]
    assert main(arguments) == 0
    assert "1 targets stand in their user's history" in capsys.readouterr().err
    write_jsonl(holdout_file, [{"user_id": "nobody", "item_id": "i1"}])
    assert main(arguments) == 2
    assert "holdout.jsonl:1: user_id: expected a user" in capsys.readouterr().err


def test_the_verb_refuses_a_model_of_another_log(served_and_data, monkeypatch, capsys):
    served, data = served_and_data
    arguments = ["evaluate", str(served), "--data", str(data), "--tasks", "search"]
    split = leave_last_out(read_dataset(data))
    monkeypatch.setattr(FakeSearcher, "training_log", split.log.content_hash())
    assert main(arguments) == 0
    monkeypatch.setattr(FakeSearcher, "training_log", "0" * 64)
    capsys.readouterr()
    assert main(arguments) == 2
    assert "the log that the model was trained on, got another one" in capsys.readouterr().err


def test_the_verb_finds_the_model_of_the_demo(served_and_data, tmp_path, monkeypatch, capsys):
    served, data = served_and_data
    monkeypatch.chdir(tmp_path)
    arguments = ["evaluate", "--data", str(data), "--json", "metrics.json"]
    assert main(arguments) == 2
    assert "run `onesearch-fast demo` on the data first" in capsys.readouterr().err
    (tmp_path / "runs" / "demo-data").mkdir(parents=True)
    served.rename(tmp_path / "runs" / "demo-data" / "served")
    assert main(arguments) == 0
    assert "onesearch" in json.loads((tmp_path / "metrics.json").read_text())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json", "."], "--json: expected a file to write"),
        (["--out", __file__], "--out: expected a folder to write"),
        (["--device", "abacus"], "--device: expected cpu, cuda or cuda:N, got abacus"),
        (["--device", "cuda"], "got cuda; no GPU today; use --device cpu"),
        (["--holdout", "/no/file"], "No such file"),
        (["--tasks", "serch"], "expected tasks of"),
        (["--num-beams", "0"], "--num-beams: expected an integer of at least 1"),
        (["--cases", "0"], "--cases: expected an integer of at least 1"),
        (["--sasrec", "0"], "evaluate: --sasrec: expected minutes, more than 0"),
    ],
)
def test_the_verb_refuses_wrong_options_before_any_work(
    served_and_data, options, message, monkeypatch, capsys
):
    monkeypatch.setattr("onesearch_fast.registry.gpu_why_not", lambda: "no GPU today")
    served, data = served_and_data
    assert main(["evaluate", str(served), "--data", str(data), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "fitting baselines" not in error


def test_a_split_without_reported_cases_says_what_it_needs():
    nobody = replace(split_of(CASES), cases={"search": (), "next_item": ()})
    with pytest.raises(ValueError, match="two clicks or orders"):
        evaluate_served(FakeSearcher([item.item_id for item in ITEMS]), nobody)
