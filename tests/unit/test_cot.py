"""Keywords: what is mined, what a language model's answers are worth, and what must not leak."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesearch_fast.data.cot import MAX_KEYWORDS, Asked, session_begins, think
from onesearch_fast.data.cot.answers import AnswerCache, read_analysis, read_keywords
from onesearch_fast.data.cot.language_model import INSTRUCTIONS_FOLDER, LanguageModelThoughts
from onesearch_fast.data.cot.mined import MinedThoughts
from onesearch_fast.data.records import Item
from onesearch_fast.data.split import Event, TrainLog, UserHistory, leave_last_out
from onesearch_fast.data.synthetic import make_synthetic
from onesearch_fast.sid.keywords import Keyword, KeywordDictionary
from onesearch_fast.train.config import ThoughtConfig
from onesearch_fast.train.thoughts import load_thoughts, make_thoughts, save_thoughts

HOUR = 3600
ITEMS = (
    Item("0", "red silk dress", category=("women", "dresses")),
    Item("1", "red cotton dress", category=("women", "dresses")),
    Item("2", "blue boots", category=("women", "shoes")),
    Item("3", "silk scarf", category=("women",)),
)
WORDS = ("red", "silk", "cotton", "dress", "blue", "boots", "scarf")
DICTIONARY = KeywordDictionary([Keyword(word, "modifier") for word in WORDS])


def click(time: int, row: int, query: str | None) -> Event:
    return Event(time, row, "click", query)


def log_of(**events: tuple[Event, ...]) -> TrainLog:
    return TrainLog(ITEMS, tuple(UserHistory(name, None, own) for name, own in events.items()))


LOG = log_of(
    u=(click(0, 3, None), click(9 * HOUR, 0, "party dress")),
    v=(click(0, 1, "party dress"),),
    w=(click(0, 0, "party dress"), click(9 * HOUR, 2, "boots")),
)


def test_keywords_of_a_query_are_what_is_clicked_for_it():
    (keywords,) = MinedThoughts(LOG, DICTIONARY).of_queries(["party dress"])
    # dress 3 clicks, red 3, silk 2, cotton 1; two items each have "red", "dress" and "silk".
    assert keywords == ("dress", "red", "silk", "cotton")


def test_own_clicks_do_not_speak_and_the_past_does():
    (asked,) = MinedThoughts(LOG, DICTIONARY).of_users(
        [Asked("party dress", "u", None, LOG.histories[0].events[:1])]
    )
    # Without u's click: dress 2, red 2, silk 1, cotton 1, and a silk
    # scarf in the past, which doubles silk.
    assert asked == ("dress", "red", "silk", "cotton")
    (stranger,) = MinedThoughts(LOG, DICTIONARY).of_users([Asked("party dress", "u", None, ())])
    # n = 2.2 gives 1.15 ln(5/3) = 0.59; n = 1.1 gives 0.39 ln(5/2) = 0.36 and 0.39 ln(5/3) = 0.20.
    assert stranger == ("dress", "red", "cotton", "silk")


def test_a_query_nobody_else_asked_is_understood_by_its_words():
    log = log_of(a=(click(0, 2, "warm boots"),), b=(click(0, 2, "boots"),))
    asked = [Asked("warm boots", "a", None, ()), Asked("hat", "a", None, ())]
    known, unknown = MinedThoughts(log, DICTIONARY).of_users(asked)
    assert known == ("blue", "boots")
    assert unknown == ()


@pytest.fixture(scope="module")
def synthetic() -> TrainLog:
    return leave_last_out(make_synthetic(seed=3, num_items=200, num_users=60).dataset).log


def test_no_turn_knows_its_target(synthetic):
    """Other clicks in a user's session and after it leave what is said of its query alike."""
    from onesearch_fast.data.keyword_mining import mine_keywords

    dictionary = mine_keywords(synthetic)
    before = think(synthetic, MinedThoughts(synthetic, dictionary))
    assert sum(map(bool, before.of_turn.values())) > 0.6 * len(before.of_turn)
    for number in (0, 7, 20):
        history = synthetic.histories[number]
        begins = session_begins(history.events)
        begin = begins[len(begins) // 2]
        changed = tuple(
            replace(event, row=(event.row + 17) % len(synthetic.items)) if place >= begin else event
            for place, event in enumerate(history.events)
        )
        histories = list(synthetic.histories)
        histories[number] = replace(history, events=changed)
        log = TrainLog(synthetic.items, tuple(histories))
        after = think(log, MinedThoughts(log, dictionary))
        same_session = [place for place, first in enumerate(begins) if first == begin]
        for place in same_session:
            key = (history.user_id, place)
            assert before.of_turn.get(key) == after.of_turn.get(key)


def test_targets_are_injected_only_when_asked_for(synthetic, tmp_path):
    plain, leaking = (
        make_thoughts(synthetic, ThoughtConfig(inject_target=inject), tmp_path / "answers")
        for inject in (False, True)
    )
    assert plain.of_query == leaking.of_query
    assert plain.of_turn != leaking.of_turn
    assert max(map(len, leaking.of_turn.values())) <= MAX_KEYWORDS


def test_thoughts_survive_their_file(synthetic, tmp_path):
    thoughts = make_thoughts(synthetic, ThoughtConfig(), tmp_path / "answers")
    save_thoughts(thoughts, tmp_path)
    loaded = load_thoughts(tmp_path)
    assert dict(loaded.of_query) == dict(thoughts.of_query)
    assert dict(loaded.of_turn) == dict(thoughts.of_turn)


def test_a_session_ends_with_a_pause():
    events = (click(0, 0, "a"), click(60, 1, "b"), click(9 * HOUR, 2, "b"))
    assert session_begins(events) == [0, 0, 2]
    assert session_begins(()) == []


CATEGORIES = frozenset({"women", "dresses"})
ANALYSIS = {"intent": "product", "category": ["Women"], "attributes": ["red"], "topics": []}


def test_an_analysis_is_read_out_of_chatter():
    text = f"Sure! {json.dumps(ANALYSIS)} I hope this helps."
    analysis = read_analysis(text, CATEGORIES)
    assert analysis is not None and analysis.category == ("women",)


@pytest.mark.parametrize(
    "change",
    [
        {"intent": "shop"},
        {"category": ["cars"]},
        {"category": "women"},
        {"attributes": [3]},
        {"topics": [""]},
        {"topics": None},
    ],
)
def test_an_unsound_analysis_is_no_answer(change):
    assert read_analysis(json.dumps({**ANALYSIS, **change}), CATEGORIES) is None


def test_keywords_must_be_few_and_of_the_same_category():
    def answer(category: list[str], count: int) -> str:
        return json.dumps({"category": category, "keywords": [f"word {i}" for i in range(count)]})

    assert len(read_keywords(answer(["women"], 8), ("women",)) or ()) == 8
    assert read_keywords(answer(["women"], 9), ("women",)) is None
    assert read_keywords(answer(["men"], 3), ("women",)) is None
    assert read_keywords(answer(["women"], 0), ("women",)) is None
    assert read_keywords('{"category": ["women"], "keywords": ["Red ", "red"]}', ("women",)) == (
        "red",
    )


@given(st.text())
def test_no_text_breaks_the_readers(text):
    assert read_analysis("{" + text, CATEGORIES) is None or "{" in text
    read_keywords(text, ("women",))


def test_a_torn_answer_is_asked_again(tmp_path):
    path = tmp_path / "answers.jsonl"
    AnswerCache(path).add({"one": "1", "two": "2"})
    path.write_bytes(path.read_bytes()[:-3])
    cache = AnswerCache(path)
    assert cache.get("one") == "1" and cache.get("two") is None
    cache.add({"two": "2"})
    assert AnswerCache(path).get("two") == "2" and len(AnswerCache(path)) == 2


class Scripted:
    """A language model that answers soundly, and counts what it is asked."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def __call__(self, prompts):
        self.prompts += prompts
        return [self._answer(prompt) for prompt in prompts]

    def _answer(self, prompt: str) -> str:
        if "four sides" in prompt:
            intent = "other" if "Query: who are you" in prompt else "product"
            return json.dumps({**ANALYSIS, "intent": intent})
        words = ["silk"] if "shopper" in prompt else ["dress", "red"]
        return json.dumps({"category": ["women"], "keywords": words})


def test_three_prompts_make_keywords_and_each_is_asked_once(tmp_path):
    model = Scripted()
    source = LanguageModelThoughts(LOG, model, tmp_path / "answers.jsonl", batch_size=2)
    assert source.of_queries(["party {dress}", "who are you"]) == [("dress", "red"), ()]
    asked = [Asked("party {dress}", "u", "age 30", LOG.histories[0].events[:1])]
    assert source.of_users(asked) == [("silk",)]
    assert "silk scarf" in model.prompts[-1] and "age 30" in model.prompts[-1]
    assert "red silk dress" not in model.prompts[-1]
    count = len(model.prompts)
    again = LanguageModelThoughts(LOG, model, tmp_path / "answers.jsonl")
    assert again.of_users(asked) == [("silk",)]
    assert len(model.prompts) == count


def test_useless_answers_leave_no_keywords(tmp_path):
    source = LanguageModelThoughts(LOG, lambda prompts: ["?"] * len(prompts), tmp_path / "a")
    assert source.of_queries(["dress"]) == [()]
    assert source.of_users([Asked("dress", "u", None, ())]) == [()]


def test_instructions_say_the_same_in_every_language():
    def fields(text: str) -> set[str]:
        return {piece.partition("}")[0] for piece in text.split("{")[1:]}

    english, chinese = (
        json.loads((INSTRUCTIONS_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("english", "chinese")
    )
    assert english.keys() == chinese.keys()
    for step, text in english.items():
        assert fields(text) == fields(chinese[step])


def test_an_unknown_language_is_refused(tmp_path):
    with pytest.raises(ValueError, match="language: expected one of"):
        LanguageModelThoughts(LOG, Scripted(), tmp_path / "a", language="latin")
