"""Any `transformers` encoder as a text encoder: the mean of its last hidden states."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from onesearch_fast.errors import FormatError, invalid
from onesearch_fast.sid.text_encoder import (
    SETTINGS_FILE,
    check_texts,
    read_settings,
    register_text_encoder,
    write_settings,
)

_KIND = "transformers"


@register_text_encoder(_KIND)
class TransformersEncoder:
    """encode(t) = normalise( mean over the tokens of t of the model's last hidden state ).

    Source: Reimers and Gurevych 2019 (mean pooling). Texts of similar length share a batch; the
    padding changes a row in its last bits only (about 1e-6). Runs without gradient and dropout.

    training_log: `TrainLog.content_hash` of what it was fine-tuned on; None for no log.
    """

    training_log: str | None = None

    def __init__(
        self,
        folder_or_hub_id: str | os.PathLike[str],
        allow_download: bool = False,
        batch_size: int = 64,
        max_length: int = 128,
        device: str = "cpu",
    ) -> None:
        """Opens a Hugging Face folder, or a hub id from the local cache.

        Nothing is downloaded unless `allow_download`. Texts are cut at `max_length` tokens.
        """
        if batch_size < 1 or max_length < 1:
            raise invalid(
                "TransformersEncoder", "batch_size, max_length", ">= 1", (batch_size, max_length)
            )
        self._tokenizer, self._model = _open(folder_or_hub_id, allow_download)
        self._model.to(device).eval()
        self._device = device
        self._batch_size = batch_size
        self._max_length = min(max_length, self._tokenizer.model_max_length)

    @property
    def dim(self) -> int:
        return int(self._model.config.hidden_size)

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """texts [n] -> float32 [n, dim]; a blank text is a zero row. Cost: one forward a batch."""
        check_texts("TransformersEncoder.encode", texts)
        out = np.zeros((len(texts), self.dim), np.float32)
        filled = [row for row, text in enumerate(texts) if text.strip()]
        filled.sort(key=lambda row: len(texts[row]))
        for begin in range(0, len(filled), self._batch_size):
            rows = filled[begin : begin + self._batch_size]
            out[rows] = self._encode_batch([texts[row] for row in rows])
        return out

    @torch.inference_mode()
    def _encode_batch(self, texts: list[str]) -> npt.NDArray[np.float32]:
        vectors: npt.NDArray[np.float32] = self.embed(texts).cpu().numpy()
        return vectors

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """As `encode`, one batch, with gradient: texts [n] -> float32 [n, dim] on the device."""
        batch = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self._max_length,
            return_tensors="pt",
        ).to(self._device)
        hidden = self._model(**batch).last_hidden_state.float()
        mask = batch["attention_mask"].unsqueeze(-1).float()
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        return torch.nn.functional.normalize(mean, dim=1)

    def parameters(self) -> Iterator[torch.Tensor]:
        """The weights, for training in place; dropout stays off."""
        parameters: Iterator[torch.Tensor] = self._model.parameters()
        return parameters

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes a Hugging Face folder (config, safetensors, tokenizer) and `text_encoder.json`."""
        self._model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)
        sizes = {"batch_size": self._batch_size, "max_length": self._max_length}
        write_settings(folder, _KIND, {**sizes, "training_log": self.training_log})

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> TransformersEncoder:
        """Opens what `save` wrote."""
        settings = read_settings(folder)
        try:
            sizes = int(settings["batch_size"]), int(settings["max_length"])
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(
                f"{Path(folder) / SETTINGS_FILE}: expected batch_size and max_length: {error!r}"
            ) from error
        encoder = cls(folder, batch_size=sizes[0], max_length=sizes[1])
        encoder.training_log = settings.get("training_log")
        return encoder


def _open(source: str | os.PathLike[str], allow_download: bool):  # type: ignore[no-untyped-def]
    from transformers import AutoModel, AutoTokenizer

    options = {"local_files_only": not allow_download}
    try:
        return (
            AutoTokenizer.from_pretrained(source, **options),
            AutoModel.from_pretrained(source, use_safetensors=True, **options),
        )
    except (OSError, ValueError) as error:
        raise invalid(
            "TransformersEncoder",
            "folder_or_hub_id",
            "a Hugging Face folder with safetensors weights, or a hub id in the local cache",
            f"{source} ({str(error).splitlines()[0]})",
            "give a folder, or allow_download=True to fetch it",
        ) from error
