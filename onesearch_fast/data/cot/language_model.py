"""Keywords from a causal language model, asked in three steps and once for each prompt."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onesearch_fast.data.cot import MAX_KEYWORDS, SEPARATOR, Asked, Keywords
from onesearch_fast.data.cot.answers import (
    Analysis,
    AnswerCache,
    read_analysis,
    read_keywords,
)
from onesearch_fast.data.split import TrainLog
from onesearch_fast.errors import invalid
from onesearch_fast.files import read_json
from onesearch_fast.sid.keywords import normalize_keyword_text

INSTRUCTIONS_FOLDER = Path(__file__).parent / "instructions"
LANGUAGES = tuple(sorted(file.stem for file in INSTRUCTIONS_FOLDER.glob("*.json")))
_NOTHING = "-"
_SHOWN_PAST = 5
_SHOWN_CATEGORIES = 100

# Prompts to answers, in order.
Generate = Callable[[Sequence[str]], list[str]]


class LanguageModelThoughts:
    """Query analysis, keyword extraction, calibration to the user: three prompts.

    An answer that cannot be read, names another category, or has more than 8 keywords counts as no
    answer. Where calibration fails, the query's own keywords stand. Answers are kept in a file, so
    an interrupted run goes on where it was. Source: OneSearch-V2, arXiv 2603.24422, section 3.2.

    Args:
        log: the catalogue's titles and categories are shown to the model.
        generate: answers a batch of prompts, such as `causal_lm(folder)`.
        cache: the file of answers.
        language: the instructions, "english" or "chinese".
        batch_size: prompts asked at a time, and lost by a kill.
    """

    def __init__(
        self,
        log: TrainLog,
        generate: Generate,
        cache: str | Path,
        language: str = "english",
        batch_size: int = 32,
    ) -> None:
        if language not in LANGUAGES:
            raise invalid("LanguageModelThoughts", "language", f"one of {LANGUAGES}", language)
        if batch_size < 1:
            raise invalid("LanguageModelThoughts", "batch_size", "at least 1", batch_size)
        self._instructions: dict[str, str] = read_json(INSTRUCTIONS_FOLDER / f"{language}.json")
        self._titles = [item.title for item in log.items]
        levels = {normalize_keyword_text(level) for item in log.items for level in item.category}
        self._categories = frozenset(levels)
        self._generate = generate
        self._cache = AnswerCache(cache)
        self._batch_size = batch_size

    def of_queries(self, queries: Sequence[str]) -> list[Keywords]:
        return [keywords for _, keywords in self._understood(queries)]

    def of_users(self, asked: Sequence[Asked]) -> list[Keywords]:
        understood = self._understood([one.query for one in asked])
        prompts = [
            self._calibration(one, analysis, keywords) if analysis and keywords else None
            for one, (analysis, keywords) in zip(asked, understood, strict=True)
        ]
        answers = self._ask(prompts)
        return [
            (read_keywords(answer, analysis.category) or keywords) if analysis else keywords
            for answer, (analysis, keywords) in zip(answers, understood, strict=True)
        ]

    def _understood(self, queries: Sequence[str]) -> list[tuple[Analysis | None, Keywords]]:
        shown = json.dumps(sorted(self._categories)[:_SHOWN_CATEGORIES], ensure_ascii=False)
        answers = self._ask([self._fill("analysis", query=q, categories=shown) for q in queries])
        analyses = [read_analysis(answer, self._categories) for answer in answers]
        prompts = [
            self._extraction(query, analysis) if analysis and analysis.intent != "other" else None
            for query, analysis in zip(queries, analyses, strict=True)
        ]
        return [
            (analysis, (read_keywords(answer, analysis.category) or ()) if analysis else ())
            for analysis, answer in zip(analyses, self._ask(prompts), strict=True)
        ]

    def _extraction(self, query: str, analysis: Analysis) -> str:
        shown = json.dumps(asdict(analysis), ensure_ascii=False)
        return self._fill("keywords", query=query, analysis=shown, limit=str(MAX_KEYWORDS))

    def _calibration(self, asked: Asked, analysis: Analysis, keywords: Keywords) -> str:
        recent = asked.past[-_SHOWN_PAST:]
        queries = SEPARATOR.join(event.query for event in recent if event.query is not None)
        clicks = SEPARATOR.join(self._titles[event.row] for event in recent)
        return self._fill(
            "calibration",
            query=asked.query,
            keywords=SEPARATOR.join(keywords),
            category=json.dumps(analysis.category, ensure_ascii=False),
            profile=asked.profile or _NOTHING,
            queries=queries or _NOTHING,
            clicks=clicks or _NOTHING,
            limit=str(MAX_KEYWORDS),
        )

    def _fill(self, step: str, **fields: str) -> str:
        # Not `format`: a query may hold braces, and a filled text is never looked at again.
        pieces = self._instructions[step].split("{")
        filled = [pieces[0]]
        for piece in pieces[1:]:
            name, _, rest = piece.partition("}")
            filled.append(fields[name] + rest)
        return "".join(filled)

    def _ask(self, prompts: Sequence[str | None]) -> list[str]:
        """The answer to each prompt, "" for none; what the cache knows is not asked again."""
        wanted = dict.fromkeys(prompt for prompt in prompts if prompt is not None)
        new = [prompt for prompt in wanted if self._cache.get(prompt) is None]
        for begin in range(0, len(new), self._batch_size):
            batch = new[begin : begin + self._batch_size]
            self._cache.add(dict(zip(batch, self._generate(batch), strict=True)))
        return [(prompt and self._cache.get(prompt)) or "" for prompt in prompts]


def causal_lm(folder: str | Path, max_new_tokens: int = 160, device: str = "cpu") -> Generate:
    """Greedy answers of a `transformers` causal LM folder, by its chat template if it has one."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    model.to(device).eval()
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token

    def shown(prompt: str) -> str:
        if tokenizer.chat_template is None:
            return prompt
        said = [{"role": "user", "content": prompt}]
        return str(tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True))

    @torch.inference_mode()
    def generate(prompts: Sequence[str]) -> list[str]:
        inputs = tokenizer([shown(one) for one in prompts], return_tensors="pt", padding=True)
        ids, mask = inputs["input_ids"].to(device), inputs["attention_mask"].to(device)
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            pad_token_id=tokenizer.pad_token_id,
        )
        texts: list[str] = tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
        return texts

    return generate
