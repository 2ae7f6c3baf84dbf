"""Patterns that no scene has: stripes that roll, rows out of step, black bars, colour bars."""

from __future__ import annotations

import math
from collections import deque
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.frames import Image
from engines.health.past import NOTHING, Past
from engines.health.scene import Link
from engines.health.view import Floats, View, floats, mean_of, ranked

BANDS, BAND_PX, STRIPE_ROWS = 4, 48, 180
"""Bands of columns whose stripes must agree, and their width; rows to which they are thinned, at most twice as
many."""
STRIPES = slice(4, 26)
"""Stripes over the height that are looked for."""
STRIPE_LAG_S, STRIPE_S = 0.3, 0.8
SLIP_ROWS, SLIP_PX, SLIP_APART, SLIP_WHITE = 64, 257, 3, 0.7
JOINED, UNJOINED_SHARE = 0.7, 16
"""Rows join end to end when the last pixel of each differs from the first by at most this share of how much it differs
from the first of others, this part of the height away."""
SLIP_EVERY, SLIP_S = 2, 1.0
BAR_LUMA = 24.0
COLUMN_LEVELS, COLUMN_SHARE, COLUMN_DRIFT = 35.0, 0.75, 0.15
"""Grey levels by which columns must differ; the share of them whose insides are judged; and the share of how much they
differ by which they may change: bars stand still, what a car passes does not."""


class Pattern:
    """stripes: amplitude (log of the light) of a single wave over the rows that changes within ``STRIPE_LAG_S``.
    slip: share of the latest looks at which each row began later than the one above, and ended where it began. bars:
    share of the width that is black from top to bottom at both sides, above the stream's past. columns: how much more
    the columns of the upper picture differ than what is in them, while they stay as they are."""

    def __init__(self) -> None:
        self.past, self.state = Past(), NOTHING
        self.every, self.lasting = 2, True
        self._rows: deque[tuple[float, Floats]] = deque()
        self._stripes = self._slip = self._looked_s = 0.0
        self._turn = 0
        self._profile, self._bars = np.zeros((0, 3), np.float32), 0.0

    def measure(self, view: View, link: Link) -> dict[str, float]:
        if self._turn % SLIP_EVERY == 0:
            weight = 1.0 - math.exp(-(view.time_s - self._looked_s) / SLIP_S)
            self._slip += weight * (float(_slips(view.frame.luma, view.sight.hidden)) - self._slip)
            self._looked_s = view.time_s
        self._turn += 1
        bars, known = _bars(view.grey), self.past.known
        self.state = np.array([bars], np.float32)
        return {
            "stripes": self._follow_stripes(view),
            "slip": self._slip,
            "bars": bars - (float(known[0]) if known is not None else 0.0),
            "columns": self._columns(view),
        }

    def restart(self) -> None:
        self._rows.clear()

    def _columns(self, view: View) -> float:
        """Colour bars: deviation between the columns of the upper 60 %, over that within them; 0 where they hardly differ,
        or have just become others."""
        profile, between, within = _columns(view)
        bars = between / (within + 3.0)
        if bars:
            before = self._profile
            if before.shape != profile.shape or mean_of(np.abs(profile - before)) > COLUMN_DRIFT * between:
                # What was seen is gone; what is there in its place may be bars.
                self._profile, bars = profile, 0.0 if self._bars else bars
        self._bars = bars
        return bars

    def _follow_stripes(self, view: View) -> float:
        luma, hidden, now = view.frame.luma, view.sight.hidden, view.time_s
        thin = max(1, luma.shape[0] // STRIPE_ROWS)
        luma = luma[::thin]
        wide = max(1, min(BAND_PX, luma.shape[1] // BANDS))
        lefts = ((np.arange(BANDS) + 0.5) * luma.shape[1] / BANDS - wide / 2).astype(int)
        bands = [cv2.reduce(luma[:, x : x + wide], 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F) for x in lefts]
        rows = np.log(np.concatenate(bands, axis=1).T + 8.0)
        if self._rows and self._rows[-1][1].shape != rows.shape:
            self._rows.clear()
        self._rows.append((now, rows))
        while len(self._rows) > 2 and self._rows[1][0] <= now - STRIPE_LAG_S:
            self._rows.popleft()
        if len(self._rows) < 2 or rows.shape[1] < 4 * STRIPES.stop:
            return self._stripes
        change = rows - self._rows[0][1]
        if hidden is not None:
            seen = np.stack([~hidden[::thin, x : x + wide].any(1) for x in lefts])
            change = (
                (change - change.mean(1, where=seen, keepdims=True)) * seen
                if seen.any(1).all()
                else change * 0
            )
        wave = _wave(change)
        step_s = now - self._rows[-2][0]
        self._stripes += (1.0 - math.exp(-step_s / STRIPE_S)) * (wave - self._stripes)
        return self._stripes


def _wave(change: Floats) -> float:
    """Amplitude of the strongest wave over the rows in the change of each band (bands × rows): 0 unless it is
    alone, and the same in all bands."""
    rows = change.shape[1]
    change = change - change.mean(1, keepdims=True)
    spectra = np.fft.rfft(change * _window(rows), axis=1)[:, STRIPES] * (4.0 / rows)
    together, each = np.abs(spectra.mean(0)), np.abs(spectra).mean(0)
    peak = int(together.argmax())
    power = together**2
    alone = float(power[max(0, peak - 1) : peak + 2].sum()) > 0.6 * float(power.sum())
    agreed = float(together[peak]) > 0.8 * float(each[peak])
    return float(together[peak]) if alone and agreed else 0.0


@lru_cache(maxsize=8)
def _window(rows: int) -> Floats:
    return floats(np.hanning(rows))


def _slips(luma: Image, hidden: NDArray[np.bool_] | None) -> bool:
    """Whether rows are shifted against those above them, alike on both sides of the picture, over its height or in its
    upper half, and join end to end.

    Memory that is read with the wrong length of a row is read without a gap: where one row ends the next goes on. No
    scene does that. Lines of the road are shifted too, to the left on one side and to the right on the other, or, in a
    bend or on a slope, alike on both. Rows are compared some rows apart, since a slip may be less than a pixel."""
    height, width = luma.shape
    if height < SLIP_ROWS or width < 128 or not _joined(luma, hidden):
        return False
    at = np.linspace(1, height - SLIP_APART - 2, SLIP_ROWS).astype(int)
    wide = min(SLIP_PX, width // 2)
    upper, whole = [], []
    for x in (int((n + 0.5) * width / 2 - wide / 2) for n in range(2)):
        span = slice(x, x + wide)
        rows = at
        if hidden is not None:
            rows = at[~(hidden[at, span] | hidden[at + SLIP_APART, span]).any(1)]
        if len(rows) < SLIP_ROWS // 2:
            return False
        cross = _cross(luma[rows, span], luma[rows + SLIP_APART, span])
        upper.append(_shift(cross[rows < height // 2], wide - 1))
        whole.append(_shift(cross, wide - 1))
    return any(abs(a - b) <= 1 and min(abs(a), abs(b)) >= 1 for a, b in (upper, whole))


def _joined(luma: Image, hidden: NDArray[np.bool_] | None) -> bool:
    """Whether each row ends with what it, or the next one, begins with."""
    first, last = luma[:, 0].astype(np.float32), luma[:, -1].astype(np.float32)
    if hidden is not None:
        seen = ~(hidden[:, 0] | hidden[:, -1])
        first, last = first[seen], last[seen]
    away = len(luma) // UNJOINED_SHARE
    if len(first) < 2 * away:
        return False
    beside = min(_apart(last, first), _apart(last[:-1], first[1:]))
    others = 0.5 * (_apart(last[away:], first[:-away]) + _apart(last[:-away], first[away:]))
    return beside + 0.5 <= JOINED * (others + 0.5)


def _apart(a: Floats, b: Floats) -> float:
    return mean_of(np.abs(a - b))


def _cross(rows: Image, below: Image) -> NDArray[np.complex64]:
    """Spectra of the correlation, between plain and phase correlation, of each row with the one below it."""
    pairs = np.diff(np.stack([rows, below]).astype(np.float32), axis=2)
    first, second = np.fft.rfft(pairs, axis=2)
    cross = second * first.conj()
    return np.asarray(cross / (np.abs(cross) ** SLIP_WHITE + 1e-3), np.complex64)


def _shift(cross: NDArray[np.complex64], width: int) -> int:
    """By how many pixels rows are best shifted to be like those below, over all of them together."""
    place = int(np.fft.irfft(cross.sum(0), width).argmax())
    return place if place <= width // 2 else place - width


def _bars(grey: Floats) -> float:
    """Share of the width, the same at both sides, that is black from top to bottom; 0 where all is black."""
    black = grey.max(0) < BAR_LUMA
    if black.all():
        return 0.0
    left, right = int(black.argmin()), int(black[::-1].argmin())
    return float(2.0 * min(left, right) / black.size)


def _columns(view: View) -> tuple[Floats, float, float]:
    """Means of the columns of the upper 60 % (columns × 3), the deviation between them, 0 where they hardly differ, and that
    within most of them."""
    small, rows = view.small, np.ones(len(view.small), np.bool_)
    rows[view.sight.small_hidden // small.shape[1]] = False
    upper = small[: len(small) * 6 // 10 : 2, ::2][rows[: len(small) * 6 // 10 : 2]]
    if len(upper) < len(small) // 8:
        return np.zeros((0, 3), np.float32), 0.0, 0.0
    # Rows of columns × channels side by side, since what lies three to a row is summed up far more slowly.
    flat = upper.reshape(len(upper), -1).astype(np.float32)
    lit = flat.max(0).reshape(-1, 3).max(1) >= BAR_LUMA  # a picture between bars has none of colour
    flat = flat.compress(np.repeat(lit, 3), axis=1)
    profile = flat.mean(0).reshape(-1, 3)
    between = float(profile.std(0).mean()) if len(profile) >= small.shape[1] // 8 else 0.0
    if between <= COLUMN_LEVELS:
        return profile, 0.0, 0.0
    return profile, between, ranked(flat.std(0).reshape(-1, 3).mean(1), COLUMN_SHARE)
