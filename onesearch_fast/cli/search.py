"""`search`: queries from the command line, from a file, or typed one after the other."""

from __future__ import annotations

import argparse
import codecs
import io
import json
import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from onesearch_fast.cli._limits import (
    check_input_file,
    check_num_beams,
    check_num_hits,
    check_output_file,
)
from onesearch_fast.cli._result import add_json, print_json
from onesearch_fast.cli.answers import answer_json, answer_text, ignored_history, reason_json
from onesearch_fast.cli.main import Verb
from onesearch_fast.errors import DataError, invalid
from onesearch_fast.files import atomic_path

if TYPE_CHECKING:
    from onesearch_fast.engine.requests import SearchAnswer, SearchRequest, UserContext
    from onesearch_fast.engine.searcher import Searcher

# Requests of a batch that are read, searched and written together.
_BATCH = 1024
# Ids that are compared with a mistyped one: more would take seconds.
_MOST_COMPARED = 100_000
_MOST_SHOWN = 5
_USER_REMEDY = """quote it as in --user '{"history": ["item id"]}'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("served", help="a served model folder")
    parser.add_argument(
        "query", nargs="*", default=[], help="queries, right behind it; none: read one by one"
    )
    parser.add_argument("-k", type=int, default=10, help="items per query (10)")
    parser.add_argument("--num-beams", type=int, default=256, help="semantic IDs per query (256)")
    parser.add_argument(
        "--user",
        metavar="JSON",
        help='who asks: {"profile": text, "history": [{"item_id": id, "query": text}, ...]}',
    )
    parser.add_argument(
        "--next-item", action="store_true", help="ask for the user's next item; no query"
    )
    parser.add_argument(
        "--batch",
        metavar="FILE",
        help='JSON lines {"query": text, "user": {...}} or "text"; - reads standard input',
    )
    parser.add_argument("--out", metavar="FILE", help="where --batch writes its JSON lines")
    parser.add_argument(
        "--filter",
        metavar="TEXT",
        help="""only such items: 'price < 30 and category contains "mugs" and in_stock'""",
    )
    parser.add_argument(
        "--deadline-ms",
        type=float,
        metavar="MS",
        help="answer by then, from the levels scored so far if need be (no deadline)",
    )
    parser.add_argument("--stats", action="store_true", help="say where the time of answers went")
    parser.add_argument(
        "--why-not", metavar="ITEM", help="instead of hits: why this item is or is not one"
    )
    parser.add_argument(
        "--dtype", default="float32", choices=("float32", "bfloat16"), help="of the model (float32)"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from onesearch_fast.engine.searcher import Searcher

    _check_mode(arguments)
    _check_numbers(arguments)
    _check_files(arguments)
    user = _parse_user(arguments.user)
    searcher = Searcher.load(arguments.served, dtype=arguments.dtype)
    _check_filter(searcher, arguments.filter)
    _check_why_not(searcher, arguments.why_not)
    _tell_ignored("--user", ignored_history(searcher, user))
    if arguments.batch:
        _run_batch(searcher, arguments)
    elif arguments.query or arguments.next_item:
        _run_once(searcher, arguments, user)
    else:
        _run_interactive(searcher, arguments, user)
    return 0


def _check_mode(arguments: argparse.Namespace) -> None:
    modes = {
        "QUERY": bool(arguments.query),
        "--next-item": arguments.next_item,
        "--batch": bool(arguments.batch),
    }
    chosen = [name for name, given in modes.items() if given]
    if len(chosen) > 1:
        raise invalid("search", "arguments", "one of QUERY, --next-item, --batch", chosen)
    if arguments.batch and (arguments.user or arguments.json):
        remedy = "every line has its own user, and the answer is JSON lines"
        raise invalid("search", "--batch", "neither --user nor --json", "one of them", remedy)
    if arguments.out and not arguments.batch:
        raise invalid("search", "--out", "--batch beside it", "none")
    if arguments.why_not is not None and not (arguments.query or arguments.next_item):
        raise invalid("search", "--why-not", "a QUERY or --next-item beside it", "none")
    if arguments.json and not chosen:
        raise invalid("search", "--json", "a QUERY or --next-item beside it", "none")


def _check_numbers(arguments: argparse.Namespace) -> None:
    """Before the model is opened; typed queries would all fail for the same reason."""
    from onesearch_fast.engine.deadline import one_deadline_per_request

    check_num_hits("search", arguments.k)
    check_num_beams("search", arguments.num_beams)
    one_deadline_per_request("search", arguments.deadline_ms, 1)


def _check_files(arguments: argparse.Namespace) -> None:
    """Before the model is opened, too."""
    if arguments.batch and arguments.batch != "-":
        remedy = "name a file of JSON lines, or - for standard input"
        check_input_file("search", "--batch", arguments.batch, remedy)
    if arguments.out:
        check_output_file("search", "--out", arguments.out)


def _check_why_not(searcher: Searcher, item_id: str | None) -> None:
    if item_id is None or searcher.items.rows([item_id])[0] >= 0:
        return
    ids = searcher.items.item_ids
    near = get_close_matches(item_id, ids, n=3) if len(ids) <= _MOST_COMPARED else []
    remedy = f"did you mean {' or '.join(near)}?" if near else f"ids look like {ids[0]}"
    raise invalid("search", "--why-not", "the id of an item of the model", item_id, remedy)


def _tell_ignored(where: str, item_ids: Sequence[str]) -> None:
    """Past items that a catalogue has dropped are no error, but ids of another catalogue are."""
    if not item_ids:
        return
    shown = ", ".join(item_ids[:_MOST_SHOWN]) + ", ..." * (len(item_ids) > _MOST_SHOWN)
    count = len(item_ids)
    sentence = f"{count} past item(s) not in the model's catalogue, left out: {shown}"
    print(f"onesearch-fast search: {where}: {sentence}", file=sys.stderr)


def _check_filter(searcher: Searcher, text: str | None) -> None:
    """Once, as numbers are, but by the columns that the model's items have."""
    if text is None:
        return
    try:
        searcher.trie.filter(where=text, columns=searcher.columns)
    except (ValueError, TypeError) as error:
        raise ValueError(f"--filter: {str(error).partition(': ')[2]}") from error


def _parse_user(text: str | None) -> UserContext | None:
    from onesearch_fast.engine.requests import UserContext

    if text is None:
        return None
    try:
        return UserContext.from_json(json.loads(text))
    except (json.JSONDecodeError, RecursionError) as error:
        raise invalid("search", "--user", "a JSON object", str(error), _USER_REMEDY) from error


def _run_once(searcher: Searcher, arguments: argparse.Namespace, user: UserContext | None) -> None:
    from onesearch_fast.engine.requests import SearchRequest

    queries = [None] if arguments.next_item else arguments.query
    requests = [SearchRequest(query, user) for query in queries]
    if arguments.why_not is not None:
        _explain(searcher, arguments, requests)
        return
    answers = _answers(searcher, arguments, requests)
    if arguments.json:
        pairs = zip(requests, answers, strict=True)
        results = [answer_json(searcher, *pair, arguments.stats) for pair in pairs]
        print_json({"results": results})
        return
    for request, answer in zip(requests, answers, strict=True):
        print(answer_text(searcher, request, answer, arguments.stats))


def _answers(
    searcher: Searcher, arguments: argparse.Namespace, requests: Sequence[SearchRequest]
) -> list[SearchAnswer]:
    return searcher.answer(
        requests,
        k=arguments.k,
        num_beams=arguments.num_beams,
        filter=arguments.filter,
        deadline_ms=arguments.deadline_ms,
    )


def _explain(
    searcher: Searcher, arguments: argparse.Namespace, requests: Sequence[SearchRequest]
) -> None:
    reasons = [
        searcher.why_not(
            request, arguments.why_not, num_beams=arguments.num_beams, filter=arguments.filter
        )
        for request in requests
    ]
    if arguments.json:
        pairs = zip(requests, reasons, strict=True)
        print_json({"results": [reason_json(*pair) for pair in pairs]})
        return
    for request, reason in zip(requests, reasons, strict=True):
        print(f"{request.query or 'next item'}\n{reason}")


def _run_interactive(
    searcher: Searcher, arguments: argparse.Namespace, user: UserContext | None
) -> None:
    """One query a line until the input ends; a query that cannot be answered ends nothing."""
    from onesearch_fast.engine.requests import SearchRequest

    if isinstance(sys.stdin, io.TextIOWrapper):
        # Bytes that are no text then come to the check of the one query they are in.
        sys.stdin.reconfigure(errors="surrogateescape")
    prompt = "query> " if sys.stdin.isatty() else ""
    if prompt:
        print(f"{len(searcher.items)} items; one query a line, end with Ctrl-D", file=sys.stderr)
    while True:
        print(prompt, end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            print(end="\n" if prompt else "", file=sys.stderr)
            return
        if not line.strip():
            continue
        request = SearchRequest(line.strip(), user)
        try:
            (answer,) = _answers(searcher, arguments, [request])
        except ValueError as error:
            print(error, file=sys.stderr)
            continue
        print(answer_text(searcher, request, answer, arguments.stats), flush=True)


def _run_batch(searcher: Searcher, arguments: argparse.Namespace) -> None:
    lines = _batch_answers(searcher, arguments)
    if not arguments.out:
        for line in lines:
            print(line, flush=True)
        return
    with atomic_path(arguments.out) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)


def _batch_answers(searcher: Searcher, arguments: argparse.Namespace) -> Iterator[str]:
    ignored: list[str] = []
    for requests in _batch_requests(arguments.batch):
        answers = _answers(searcher, arguments, requests)
        for request, answer in zip(requests, answers, strict=True):
            line = answer_json(searcher, request, answer, arguments.stats)
            ignored += line["ignored_history"]
            yield json.dumps(line, ensure_ascii=False)
    _tell_ignored(arguments.batch, ignored)


def _batch_requests(path: str) -> Iterator[list[SearchRequest]]:
    from onesearch_fast.engine.requests import SearchRequest

    requests = []
    for number, line in enumerate(_lines(path), start=1):
        # As the readers of data do: a byte order mark and blank lines say nothing.
        line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if not line.strip():
            continue
        try:
            request = SearchRequest.from_json(json.loads(line.decode("utf-8")))
            request.check()
        except (ValueError, RecursionError) as error:
            remedy = 'give one JSON text or {"query": text, "user": {...}} a line'
            raise DataError(f"{path}:{number}: {error}; {remedy}") from error
        requests.append(request)
        if len(requests) == _BATCH:
            yield requests
            requests = []
    if requests:
        yield requests


def _lines(path: str) -> Iterator[bytes]:
    if path == "-":
        yield from sys.stdin.buffer
        return
    with Path(path).open("rb") as file:
        yield from file


VERB = Verb(
    "search",
    "answer queries from a served model: once, in batch, or interactively",
    add_arguments,
    run,
)
