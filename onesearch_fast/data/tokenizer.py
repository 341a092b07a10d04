"""The model's vocabulary: text pieces, code tokens in one contiguous id range per level, markers.

Code and marker tokens are ordinary added tokens of a Hugging Face fast tokenizer, so that a saved
folder opens with `transformers.AutoTokenizer` and code tokens survive `skip_special_tokens`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from onesearch_fast.errors import FormatError, invalid
from onesearch_fast.files import read_json, write_json
from onesearch_fast.sid.codes import code_token_names

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
CONFIG_FILE = "tokenizer_config.json"
_METADATA = "semantic_ids"
SMALLEST_VOCABULARY = 256 + 3  # every byte, and the three special tokens
_CACHED_TEXTS = 1 << 17


class SidTokenizer:
    """Texts and semantic IDs to token ids.

    Text goes through the text pieces alone: a query that spells "<a_5>" stays text, so no user can
    type a code or a marker. Encoding the same text again costs one dictionary lookup.

    Attributes:
        level_sizes: number of codes of every level.
        num_residual_levels: how many of the levels are residual k-means; the others share a letter.
        code_token_offsets: token id of code 0 of every level; level l owns the ids
            [code_token_offsets[l], code_token_offsets[l] + level_sizes[l]).
        hf: the `transformers` tokenizer with all tokens, for generation outside this package.
    """

    def __init__(
        self,
        hf: PreTrainedTokenizerFast,
        level_sizes: Sequence[int],
        num_residual_levels: int,
        markers: Sequence[str],
    ) -> None:
        self.hf = hf
        self.level_sizes = tuple(int(size) for size in level_sizes)
        self.num_residual_levels = num_residual_levels
        self.markers = tuple(markers)
        names = code_token_names(self.level_sizes, num_residual_levels)
        added = hf.get_added_vocab()
        self.code_token_offsets = tuple(_contiguous_offset(added, level) for level in names)
        self._marker_ids = {name: _known_id(added, name) for name in self.markers}
        self._text = _text_only(hf)
        self._cache: dict[str, tuple[int, ...]] = {}

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        level_sizes: Sequence[int],
        num_residual_levels: int,
        markers: Sequence[str],
    ) -> SidTokenizer:
        """Fits a byte-level BPE to `texts` and adds the markers and the code tokens.

        Text is NFKC-normalised, case-folded and freed of repeated spaces, so that a word is the
        same pieces wherever it stands. Equal texts give equal merges on every machine.

        Args:
            texts: any number of texts; a text that occurs n times counts n times.
            vocab_size: most text pieces, bytes and special tokens included; at least 259.
        """
        if vocab_size < SMALLEST_VOCABULARY:
            raise invalid(
                "SidTokenizer.train", "vocab_size", f"at least {SMALLEST_VOCABULARY}", vocab_size
            )
        backend = _untrained_backend()
        trainer = BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            special_tokens=[PAD, BOS, EOS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        backend.train_from_iterator((_checked(text) for text in texts), trainer)
        hf = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=backend, pad_token=PAD, bos_token=BOS, eos_token=EOS
        )
        return cls.extend(hf, level_sizes, num_residual_levels, markers)

    @classmethod
    def extend(
        cls,
        hf_tokenizer: PreTrainedTokenizerFast,
        level_sizes: Sequence[int],
        num_residual_levels: int,
        markers: Sequence[str],
    ) -> SidTokenizer:
        """Adds the markers and the code tokens to a Hugging Face fast tokenizer, in place."""
        if not getattr(hf_tokenizer, "is_fast", False):
            raise invalid(
                "SidTokenizer.extend", "hf_tokenizer", "a fast tokenizer", type(hf_tokenizer)
            )
        if hf_tokenizer.eos_token is None:
            hf_tokenizer.add_special_tokens({"eos_token": EOS})
        if hf_tokenizer.pad_token is None:
            hf_tokenizer.pad_token = hf_tokenizer.eos_token
        names = code_token_names(level_sizes, num_residual_levels)
        wanted = [*markers, *(name for level in names for name in level)]
        added = hf_tokenizer.add_tokens(
            [AddedToken(name, special=False, normalized=False) for name in wanted]
        )
        if added != len(wanted):
            raise invalid(
                "SidTokenizer.extend",
                "hf_tokenizer",
                "a vocabulary without our code and marker tokens",
                f"one that has {len(wanted) - added} of them",
                "start from the original tokenizer",
            )
        return cls(hf_tokenizer, level_sizes, num_residual_levels, markers)

    @property
    def vocab_size(self) -> int:
        """Number of token ids: text pieces, special tokens, markers and codes."""
        return len(self.hf)

    @property
    def pad_id(self) -> int:
        return int(self.hf.pad_token_id)

    @property
    def eos_id(self) -> int:
        return int(self.hf.eos_token_id)

    def encode_text(self, text: str) -> list[int]:
        """Token ids of one text; never a code, a marker or a special token.

        Raises ValueError when the text holds a lone surrogate (it is not valid Unicode).
        """
        return self.encode_texts([text])[0]

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode_text` of each text; texts not met before are encoded in one batch."""
        if len(self._cache) + len(texts) > _CACHED_TEXTS:
            self._cache = {}
        # One look at it: another thread may put an empty one in its place meanwhile.
        cache = self._cache
        new = list(dict.fromkeys(text for text in texts if text not in cache))
        if new:
            encodings = self._text.encode_batch(
                [_checked(text) for text in new], add_special_tokens=False
            )
            cache.update((t, tuple(e.ids)) for t, e in zip(new, encodings, strict=True))
        return [list(cache[text]) for text in texts]

    def decode_text(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""
        return str(self.hf.decode(list(ids), skip_special_tokens=True)).strip()

    def code_ids(self, codes: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """codes [..., num_levels], local to their levels -> token ids int64 of the same shape."""
        array = np.asarray(codes)
        sizes = np.asarray(self.level_sizes)
        if array.shape[-1:] != sizes.shape or not np.issubdtype(array.dtype, np.integer):
            raise invalid(
                "SidTokenizer.code_ids",
                "codes",
                f"integers [..., {len(sizes)}]",
                f"{array.dtype} {list(array.shape)}",
            )
        if array.size and ((array < 0) | (array >= sizes)).any():
            raise invalid(
                "SidTokenizer.code_ids", "codes", f"codes below {self.level_sizes}", array.tolist()
            )
        ids: npt.NDArray[np.int64] = array.astype(np.int64) + np.asarray(self.code_token_offsets)
        return ids

    def added_names(self) -> list[str]:
        """Names of all marker and code tokens."""
        levels = code_token_names(self.level_sizes, self.num_residual_levels)
        return [*self.markers, *(name for level in levels for name in level)]

    def marker_id(self, name: str) -> int:
        """Token id of a marker, such as "<item>"."""
        if name not in self._marker_ids:
            raise invalid("SidTokenizer.marker_id", "name", f"one of {self.markers}", name)
        return self._marker_ids[name]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the Hugging Face files; `tokenizer_config.json` records the levels' id ranges."""
        self.hf.save_pretrained(str(folder))
        path = Path(folder) / CONFIG_FILE
        config: dict[str, Any] = read_json(path)
        config[_METADATA] = {
            "code_token_offsets": list(self.code_token_offsets),
            "level_sizes": list(self.level_sizes),
            "num_residual_levels": self.num_residual_levels,
            "markers": list(self.markers),
        }
        write_json(path, config)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> SidTokenizer:
        """Opens a folder written by `save`; raises FormatError when it is not one."""
        path = Path(folder) / CONFIG_FILE
        if not path.is_file():
            raise FormatError(f"{folder}: no {CONFIG_FILE}; it is not a saved tokenizer")
        config = read_json(path)
        metadata = config.get(_METADATA) if isinstance(config, dict) else None
        if not isinstance(metadata, dict):
            raise FormatError(f"{path}: no {_METADATA!r}; this tokenizer has no code tokens")
        hf = _open(folder)
        try:
            offsets = metadata["code_token_offsets"]
            tokenizer = cls(
                hf, metadata["level_sizes"], metadata["num_residual_levels"], metadata["markers"]
            )
        except (KeyError, TypeError) as error:
            raise FormatError(f"{path}: {_METADATA!r} is not ours: {error!r}") from error
        if list(tokenizer.code_token_offsets) != offsets:
            raise FormatError(f"{path}: code_token_offsets do not match the vocabulary")
        return tokenizer


def _open(folder: str | os.PathLike[str]) -> Any:
    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare ones for a damaged file
        raise FormatError(f"{folder}: not a Hugging Face tokenizer: {error}") from error


def _untrained_backend() -> Tokenizer:
    backend = Tokenizer(BPE())
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    # The prefix space makes a word the same piece at the start of a text and inside it.
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    return backend


def _text_only(hf: PreTrainedTokenizerFast) -> Tokenizer:
    """The tokenizer without its added tokens: what a user types can match none of them."""
    state = json.loads(hf.backend_tokenizer.to_str())
    state.update(added_tokens=[], post_processor=None, truncation=None, padding=None)
    return Tokenizer.from_str(json.dumps(state))


def _checked(text: str) -> str:
    if not isinstance(text, str):
        raise invalid("SidTokenizer", "text", "a string", text, kind=TypeError)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise invalid(
            "SidTokenizer",
            "text",
            "valid Unicode",
            f"a lone surrogate at character {error.start}",
            "decode the input as UTF-8 with errors='replace'",
        ) from None
    return text


def _known_id(added: Mapping[str, int], name: str) -> int:
    if name not in added:
        raise FormatError(f"tokenizer: the added token {name!r} is missing")
    return added[name]


def _contiguous_offset(added: Mapping[str, int], names: Sequence[str]) -> int:
    first = _known_id(added, names[0])
    if [added.get(name) for name in names] != list(range(first, first + len(names))):
        raise FormatError(f"tokenizer: {names[0]} to {names[-1]} are not one range of ids")
    return first
