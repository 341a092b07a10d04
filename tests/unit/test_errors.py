"""The one sentence form of the package's errors."""

from onesearch_fast.errors import DataError, invalid


def test_sentence_names_place_argument_contract_value_and_remedy() -> None:
    error = invalid("SidTrie.build", "codes", "at least one row", "0 rows", "pass a catalogue")
    assert isinstance(error, ValueError)
    assert (
        str(error)
        == "SidTrie.build: codes: expected at least one row, got 0 rows; pass a catalogue"
    )


def test_kind_and_long_values() -> None:
    error = invalid("read", "title", "text", ["x" * 500], kind=DataError)
    assert isinstance(error, DataError)
    assert len(str(error)) < 260
    assert str(error).endswith("...")


def test_text_that_cannot_be_seen_is_quoted() -> None:
    for blank in ("", "  ", "\n"):
        assert str(invalid("read", "title", "text", blank)).endswith(f"got {blank!r}")
    assert str(invalid("read", "title", "text", "none")).endswith("got none")
