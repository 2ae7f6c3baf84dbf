"""Standard output and error of a program that must not wait for whoever reads them."""

from __future__ import annotations

import os
import queue
import threading
import time
from contextlib import suppress
from typing import TextIO

from engines.console import to_nowhere

MOST = 1000
"""How many texts may wait; further ones are left out, and counted."""


class Outlet:
    """Writes to ``stream`` in a thread of its own: a pipe that nobody reads, or a terminal that was stopped (Ctrl-S), holds
    up nothing else. A reader that left is no error, nor is a full disk behind it.

    To be used as a file; ``write`` may be called from any thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = stream.encoding
        self._waiting: queue.Queue[str | None] = queue.Queue(MOST)
        self._left_out = 0
        self._thread = threading.Thread(target=self._run, name="outlet", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        """Hand over ``text``; never waits."""
        try:
            self._waiting.put_nowait(text)
        except queue.Full:
            self._left_out += 1
        return len(text)

    def flush(self) -> None:
        """There is nothing to wait for."""

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def end(self, deadline_s: float = 0.5) -> None:
        """Wait until all is written, but no longer than that."""
        until_s = time.monotonic() + deadline_s
        with suppress(queue.Full):
            self._waiting.put(None, timeout=deadline_s)
        self._thread.join(max(0.0, until_s - time.monotonic()))

    def _run(self) -> None:
        while (text := self._waiting.get()) is not None:
            if self._left_out and not self._waiting.full():
                text += f"({self._left_out} lines were left out: nobody read them)\n"
                self._left_out = 0
            # A line that a full disk does not take, or a stream that was closed, is lost; others may not be.
            with suppress(OSError, ValueError):
                self._put(text)

    def _put(self, text: str) -> None:
        try:
            descriptor = self._stream.fileno()
        except OSError:  # no file of the system's, as in a notebook
            self._stream.write(text)
            self._stream.flush()
            return
        # Around the stream's own buffer, whose lock a thread that is stuck would keep at the end of the program.
        data = text.encode(self.encoding or "utf-8", "replace")
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except BrokenPipeError:
            to_nowhere(descriptor)
