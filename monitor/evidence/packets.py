"""The encoded packets of a live camera: a bounded past, out of which clips are cut without encoding anew.

A decoder can only begin at a key frame, so packets are kept and dropped in groups, each from one key frame to the
next. A camera that is connected anew may code differently: a clip never holds packets of two connections.
"""

from __future__ import annotations

import io
import math
import threading
from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction

import av
from av.video.stream import VideoStream

MOST_BYTES = 32 << 20
"""Bytes of packets kept of one camera's past, and again of its clip in the making: what bounds memory."""
LEAP_S = 10.0
RAW = frozenset({"rawvideo", "wrapped_avframe"})


class Coding:
    """How a video stream is coded: what a file must say of it beside its packets. It outlives the stream's container.

    name: of the codec. time_base: seconds a tick of packets' time stamps; given where the stream's own mean nothing.
    Raises ValueError, in a few words, for a stream that has no encoded packets."""

    def __init__(self, stream: VideoStream, time_base: Fraction | None = None) -> None:
        self.name = str(stream.codec_context.name)
        if self.name in RAW:
            raise ValueError(f"it sends raw pictures ({self.name}), no encoded packets that could be kept")
        base = time_base or stream.time_base
        if base is None:
            raise ValueError("its packets have no time stamps")
        # PyAV 19 has a rational of its own.
        self.time_base = Fraction(base.numerator, base.denominator)
        # The parameters of an input stream go with its container; those of a file that is never written stay.
        self._holder = av.open(io.BytesIO(), "w", format="matroska")
        self.template = self._holder.add_stream_from_template(stream, opaque=True)


@dataclass(frozen=True, slots=True)
class Coded:
    """One encoded packet, as it came. pts, dts, duration: in ticks of its coding's time base."""

    data: bytes
    pts: int | None
    dts: int | None
    duration: int
    key: bool

    @property
    def stamp(self) -> int | None:
        """When it is decoded, or, where that is not known, shown."""
        return self.pts if self.dts is None else self.dts


def coded(packet: av.Packet[VideoStream], shift: int = 0) -> Coded:
    """Copy a packet that was just read, its time stamps moved by ``shift`` ticks."""
    pts, dts = (None if stamp is None else stamp + shift for stamp in (packet.pts, packet.dts))
    return Coded(bytes(packet), pts, dts, packet.duration or 0, bool(packet.is_keyframe))


@dataclass(slots=True, eq=False)
class Group:
    """The packets from one key frame to the next. time_s: media time of its first picture; run: which
    uninterrupted stretch of time stamps it belongs to."""

    coding: Coding
    run: int
    time_s: float
    packets: list[Coded] = field(default_factory=list)
    bytes: int = 0


@dataclass(slots=True, eq=False)
class Take:
    """A clip in the making: packets of one run from a key frame on. The ring adds to it until it is finished.

    wanted_s: media time at which it should begin. over: why it goes on no more although nobody said so.
    """

    wanted_s: float
    coding: Coding | None = None
    first: Group | None = None
    packets: list[Coded] = field(default_factory=list)
    bytes: int = 0
    over: str = ""

    @property
    def begins_s(self) -> float | None:
        """Media time of its first picture; None as long as it is empty."""
        return None if self.first is None else self.first.time_s

    def add(self, group: Group, packets: list[Coded]) -> None:
        """Take in packets of ``group``, from its key frame on."""
        if self.first is None:
            self.first, self.coding = group, group.coding
        if self.over:
            return
        if group.run != self.first.run:
            self.over = "the connection to the camera was lost"
            return
        for packet in packets:
            if self.bytes + len(packet.data) > MOST_BYTES:
                self.over = f"a clip may hold {MOST_BYTES >> 20} MiB"
                return
            self.packets.append(packet)
            self.bytes += len(packet.data)


class PacketRing:
    """The newest ``keep_s`` seconds of a camera's packets and what reaches back to the key frame before, in at most
    ``most_bytes``; safe to call from any thread.

    All times are the camera's media time. Where one group alone exceeds the bound it is given up, and the past begins
    again with the next key frame. ``problem`` says why there are no packets at all, where that is so."""

    def __init__(self, keep_s: float, most_bytes: int = MOST_BYTES) -> None:
        self.problem = ""
        self.given_up = 0
        self._keep_s, self._most_bytes = keep_s, most_bytes
        self._lock = threading.Lock()
        self._groups: deque[Group] = deque()
        self._open: Group | None = None
        self._takes: list[Take] = []
        self._coding: Coding | None = None
        self._run, self._stamp = 0, math.nan
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """How much is held, clips in the making included (what they share with the past counts twice)."""
        with self._lock:
            return self._bytes + sum(take.bytes for take in self._takes)

    @property
    def coding(self) -> Coding | None:
        """Of the newest connection."""
        return self._coding

    def begin(self, coding: Coding | None, problem: str = "") -> None:
        """Note a new connection, or ``problem``, why nothing of it can be kept."""
        with self._lock:
            self._coding, self.problem = coding, problem
            self._interrupt()

    def put(self, packet: Coded, time_s: float) -> None:
        """Keep a packet; ``time_s`` is the media time of the newest picture before it, until ``date`` says better."""
        with self._lock:
            if self._coding is None or not packet.data:
                return
            if self._leaps(packet, self._coding.time_base):
                self._interrupt()
            if packet.key:
                self._open = Group(self._coding, self._run, time_s)
                self._groups.append(self._open)
            if self._open is None:
                return
            for take in self._takes:
                if take.first is not None or packet.key:
                    take.add(self._open, [packet])
            if self._groups and self._groups[-1] is self._open:
                self._open.packets.append(packet)
                self._open.bytes += len(packet.data)
                self._bytes += len(packet.data)
                self._forget(time_s)

    def date(self, pts: int | None, time_s: float) -> None:
        """Say when the picture of the key frame with time stamp ``pts`` was, now that it is decoded."""
        with self._lock:
            for group in reversed(self._groups):
                if group.packets and group.packets[0].pts == pts:
                    group.time_s = time_s
                    return

    def take(self, wanted_s: float, onset_s: float) -> Take:
        """Begin a clip at the last key frame up to ``wanted_s`` of the connection that stood at ``onset_s``, or as soon
        after as there is one. It must be finished."""
        with self._lock:
            take = Take(wanted_s)
            kept = [group for group in self._groups if group.packets]
            if kept:
                run = next((g.run for g in reversed(kept) if g.time_s <= onset_s), kept[0].run)
                mine = [group for group in kept if group.run == run]
                start = max((i for i, group in enumerate(mine) if group.time_s <= wanted_s), default=0)
                for group in mine[start:]:
                    take.add(group, group.packets)
                if run != self._run:
                    take.over = "the connection to the camera was lost"
            self._takes.append(take)
            return take

    def finish(self, take: Take) -> None:
        """Add no more to ``take``."""
        with self._lock:
            self._takes = [other for other in self._takes if other is not take]

    def _leaps(self, packet: Coded, time_base: Fraction) -> bool:
        """Whether time stamps run backwards or leap, so that packets on both sides fit into no common file."""
        stamp = packet.stamp
        if stamp is None:
            return False
        step_s = (stamp - self._stamp) * float(time_base)
        self._stamp = stamp
        # Where only the time of showing is known, pictures that are shown out of turn step back a little.
        return not -1.0 < step_s < LEAP_S and not math.isnan(step_s)

    def _interrupt(self) -> None:
        self._run += 1
        self._open, self._stamp = None, math.nan

    def _forget(self, now_s: float) -> None:
        groups = self._groups
        while len(groups) > 1 and (
            self._bytes > self._most_bytes or groups[1].time_s <= now_s - self._keep_s
        ):
            self._bytes -= groups.popleft().bytes
        if self._bytes > self._most_bytes:
            # Without its beginning the rest of a group is of no use, except to clips that have the beginning.
            groups.clear()
            self._bytes, self.given_up = 0, self.given_up + 1
