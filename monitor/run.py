"""The daemon's loop: the newest frame of every camera, one call per engine, events as they happen.

No camera waits for another beyond the few milliseconds in which a batch may fill: see ``monitor.batcher``.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from engines.frames import Frame
from engines.resident import score
from monitor.batcher import Batcher
from monitor.camera_watch import Watch
from monitor.events import Event, Phase
from monitor.outbox import Message
from monitor.pipeline import BATCH
from monitor.run_screen import Row

TICK_S = 0.1
LATE_S = 1.0
EXCUSE_EVERY_S = 30.0
TOGETHER_S = 1.0
CLOSE_S = 0.5


class Deliveries(Protocol):
    """Where events go: see ``monitor.outbox``."""

    def put(self, message: Message) -> None:
        """Take a message without waiting."""


class Display(Protocol):
    """What people see: see ``monitor.run_screen``."""

    every_s: float

    def event(self, event: Event, *, muted: bool = False) -> None:
        """Show an event."""

    def log(self, text: str) -> None:
        """Show a line."""

    def status(self, rows: Sequence[Row]) -> None:
        """Show the state of all cameras."""


class Alertness:
    """Whether the process itself was awake: nobody may be blamed for a silence that was our own.

    A process that was stopped, or whose host was suspended, finds every camera's newest picture old. So once
    the loop came round over ``LATE_S`` late, silence counts from then on (``awake_s``). That excuse is good
    once in ``excuse_every_s``, or a machine too slow for its cameras would never report a dead one. All
    times are of the monotonic clock.
    """

    def __init__(self, now_s: float, excuse_every_s: float = EXCUSE_EVERY_S) -> None:
        self._last_s = self.awake_s = now_s
        self._excuse_every_s, self._excused_s = excuse_every_s, -math.inf

    def tick(self, now_s: float) -> None:
        """Note that the loop came round."""
        if now_s - self._last_s > LATE_S and now_s - self._excused_s > self._excuse_every_s:
            self.awake_s = self._excused_s = now_s
        self._last_s = now_s


class Queue:
    """The cameras of one bundle, whose frames share the calls of its engine."""

    def __init__(self, watches: Sequence[Watch], wait_s: float, largest: int) -> None:
        self.engine = watches[0].loaded.engine
        self._watches, self._batcher = watches, Batcher(len(watches), wait_s, largest)

    def due_s(self, now_s: float) -> float:
        """When the next batch must be scored, on the monotonic clock; inf while no frame waits."""
        return self._batcher.due_s(self._since_s, now_s)

    def take(self) -> list[tuple[Watch, Frame]]:
        """Take the frames of the next batch."""
        turns = [self._watches[camera] for camera in self._batcher.take(self._since_s)]
        return [(watch, frame) for watch in turns if (frame := watch.take()) is not None]

    @property
    def _since_s(self) -> list[float | None]:
        return [watch.live.waiting_since_s for watch in self._watches]


class Daemon:
    """Watches many cameras until told to stop.

    watches, arrived: the cameras, and the event that all their readers set. batch_wait_s, batch: how long a frame may
    wait for those of other cameras, and how many are scored in one call at most. unix_s: the wall clock, for what is
    said of alerts and for mute windows.
    """

    def __init__(
        self,
        watches: Sequence[Watch],
        arrived: threading.Event,
        deliveries: Deliveries,
        display: Display,
        *,
        batch_wait_s: float = 0.0,
        batch: int = BATCH,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        self._watches, self._arrived = watches, arrived
        self._deliveries, self._display, self._unix_s = deliveries, display, unix_s
        now_s = time.monotonic()
        longest_s = max(watch.limit_s for watch in watches)
        self._alertness = Alertness(now_s, max(EXCUSE_EVERY_S, 2 * longest_s))
        self._shown_s = now_s
        self._shown = [0] * len(watches)
        self._suspected = False
        shared = dict.fromkeys(id(watch.loaded) for watch in watches)
        self._queues = [
            Queue([watch for watch in watches if id(watch.loaded) == key], batch_wait_s, batch)
            for key in shared
        ]

    def run(self, stop: threading.Event) -> None:
        """Watch until ``stop`` is set, then end what is open and close the cameras within ``CLOSE_S``."""
        try:
            while not stop.is_set():
                self._await_batch()
                self._alertness.tick(time.monotonic())
                for queue in self._queues:
                    now_s = time.monotonic()
                    if queue.due_s(now_s) <= now_s:
                        self._look(queue)
                self._listen()
                self._cut()
                self._show()
        finally:
            self._close()

    def _await_batch(self) -> None:
        """Return once a batch is due, and after ``TICK_S`` in any case."""
        tick_s = time.monotonic() + TICK_S
        while True:
            # Cleared before looking: what arrives from here on cuts the wait short.
            self._arrived.clear()
            now_s = time.monotonic()
            due_s = min(tick_s, *(queue.due_s(now_s) for queue in self._queues))
            if due_s <= now_s:
                return
            self._arrived.wait(due_s - now_s)

    def _look(self, queue: Queue) -> None:
        taken = queue.take()
        if not taken:  # the camera may have been closed since its frame was due
            return
        frames, images = [frame for _, frame in taken], [watch.image(frame) for watch, frame in taken]
        scores = score(queue.engine, frames, images)
        for row, (watch, frame) in enumerate(taken):
            events = watch.judge(frame, scores, row)
            for note in watch.notes:
                self._display.log(f"{watch.config.name}: {note}")
            self._tell(watch, events, frame.arrival_s)
            self._propose(watch, frame.arrival_s)

    def _listen(self) -> None:
        now_s = time.monotonic()
        for watch in self._watches:
            self._tell(watch, watch.listen(now_s, self._alertness.awake_s), now_s)
            untold = watch.unmute(self._unix_s())
            if untold is not None:
                self._display.event(replace(untold, phase=Phase.START))
                self._deliveries.put(Message(untold, watch.model, self._unix_s()))
        silent_s = [watch.silent_since_s for watch in self._watches if watch.silent]
        if len(self._watches) < 2 or len(silent_s) < len(self._watches):
            self._suspected = False
        elif not self._suspected:
            self._suspected = True
            if max(silent_s) - min(silent_s) <= TOGETHER_S:
                self._display.log(
                    f"all {len(silent_s)} cameras went silent together: suspect this host or its network"
                )

    def _show(self) -> None:
        now_s = time.monotonic()
        passed_s = now_s - self._shown_s
        if passed_s < self._display.every_s:
            return
        rates = [(w.scored - before) / passed_s for w, before in zip(self._watches, self._shown, strict=True)]
        self._shown_s, self._shown = now_s, [watch.scored for watch in self._watches]
        self._display.status([watch.row(rate) for watch, rate in zip(self._watches, rates, strict=True)])

    def _tell(self, watch: Watch, events: Iterable[Event], moment_s: float) -> None:
        """Show and deliver; ``moment_s`` is when the events' newest frame came, on the monotonic clock."""
        for event in events:
            now_s, now_unix_s, witness = time.monotonic(), self._unix_s(), watch.witness
            muted = watch.muting.take(event, now_unix_s)
            message = Message(event, watch.model, now_unix_s - (now_s - moment_s), muted=muted)
            if event.phase == Phase.START:
                shown = watch.begin(event, now_s)
                message = replace(message, shown=shown, clip_suffix=witness.clip_suffix if witness else "")
            elif event.phase == Phase.END and witness is not None:
                message = replace(message, clip=witness.finish(), lead_s=watch.lead_s)
            self._display.event(event, muted=muted)
            self._deliveries.put(message)

    def _cut(self) -> None:
        """Hand over clips that are long enough of events that go on."""
        now_s = time.monotonic()
        for watch in self._watches:
            if watch.witness is None or watch.open is None or not watch.witness.due(now_s):
                continue
            clip = watch.witness.finish()
            self._deliveries.put(
                Message(watch.open, watch.model, self._unix_s(), clip=clip, lead_s=watch.lead_s, quiet=True)
            )

    def _propose(self, watch: Watch, moment_s: float) -> None:
        """Show and deliver what the newest frame proposes, if anything; ``moment_s`` as for ``_tell``."""
        if watch.proposal is None:
            return
        now_unix_s, bundle = self._unix_s(), watch.loaded.bundle.path.name
        captured_unix_s = now_unix_s - (time.monotonic() - moment_s)
        muted = watch.muting.active(now_unix_s)
        self._display.log(f"{watch.config.name}: {watch.proposal.line(bundle)}")
        self._deliveries.put(
            Message(watch.proposal, watch.model, captured_unix_s, muted=muted, bundle=bundle)
        )

    def _close(self) -> None:
        deadline_s = time.monotonic() + CLOSE_S
        for watch in self._watches:
            self._tell(watch, watch.finish(), time.monotonic())
        for watch in self._watches:
            watch.live.close(0.0)
        for watch in self._watches:
            watch.live.close(max(0.0, deadline_s - time.monotonic()))
