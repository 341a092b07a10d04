"""What a run tells the person who waits for it."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console

_PAUSE_SECONDS = 10.0


class Progress(Protocol):
    """Hears about the steps of a run, and about training inside a step."""

    def say(self, message: str) -> None:
        """One finished or beginning piece of work."""

    def training(self, stage: str, progress: float, loss: float, tokens_per_second: float) -> None:
        """Called often during training; progress in [0, 1]."""


class Silent:
    """Says nothing."""

    def say(self, message: str) -> None:
        return

    def training(self, stage: str, progress: float, loss: float, tokens_per_second: float) -> None:
        return


class ConsoleProgress:
    """Lines on a console (standard error by default); training speaks every ten seconds."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._began = time.monotonic()
        self._spoke = -_PAUSE_SECONDS

    def say(self, message: str) -> None:
        self.console.print(f"[dim]{time.monotonic() - self._began:6.0f} s[/dim]  {message}")

    def training(self, stage: str, progress: float, loss: float, tokens_per_second: float) -> None:
        now = time.monotonic()
        if now - self._spoke < _PAUSE_SECONDS and progress < 1.0:
            return
        self._spoke = now
        self.say(f"{stage}: {progress:4.0%}  loss {loss:.3f}  {tokens_per_second:,.0f} tokens/s")
