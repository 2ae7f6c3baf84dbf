"""How two pictures of one scene are laid out to each other, by the points that both show: found whatever the move, and
far too dear for every frame."""

from __future__ import annotations

import math
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.frames import Image

Points: TypeAlias = NDArray[np.float64]

ROWS, POINTS = 160, 300
"""Rows to which pictures are reduced, and most points in each."""
PLAIN = 0.8
"""A match is plain when it is nearer than this share of the next best (Lowe 2004)."""
FEWEST, SHARE = 8, 0.2
"""Matches that must agree, and share of all: between two scenes hardly three do."""
FOCAL = (0.6, 0.75, 0.9, 1.2, 1.6)
"""Focal lengths, in widths of the picture: views 80 to 35 degrees wide."""
TRIES, NEAR = 120, 0.02
"""Pairs of matches by which each is tried, and the angle within which a match agrees, in radians."""
LEAST_TURN_DEG = 8.0
"""A bump turns a camera by less, and so does a shard of a broken lens; smaller moves leave enough to be found otherwise."""
ALONG, CENTRE, BENT = 0.06, 0.05, 1.08
"""Sine of the angle by which a point may leave its radius, share of the width around the middle where radii say nothing,
and how many times more the outer half of the picture must be drawn in than the inner half."""
EVEN, FITS = 0.04, 4
"""By how much a point may be drawn in otherwise than its radius says: a lens knows no near and far, the way ahead does. And
how often the curve is fitted to those that are near it."""


def relaid(before: Image, now: Image, hidden: NDArray[np.bool_] | None = None) -> tuple[str, float]:
    """How the luma of one frame is laid out to that of the frame before it: ``moved`` where the camera turned, ``bent``
    where the picture is drawn in along its radii, with the share of the matches that agree; else nothing and 0.
    hidden: where nobody looks."""
    a, b = _matches(before, now, hidden)
    if len(a) < FEWEST:
        return "", 0.0
    turned, angle = _turned(a, b)
    radial, ratio = _radial(a, b)
    agree = max(turned, radial)
    if agree < max(FEWEST, SHARE * len(a)):
        return "", 0.0
    if turned > radial:
        return ("moved", turned / len(a)) if math.degrees(angle) > LEAST_TURN_DEG else ("", 0.0)
    return ("bent", radial / len(a)) if ratio > BENT else ("", 0.0)


def _matches(before: Image, now: Image, hidden: NDArray[np.bool_] | None) -> tuple[Points, Points]:
    """Points that both pictures show, from the middle, in widths of the picture (N × 2 each)."""
    finder, matcher = cv2.SIFT.create(POINTS), cv2.BFMatcher(cv2.NORM_L2)
    height, width = now.shape
    size = round(width * ROWS / height), ROWS
    looked = None if hidden is None else cv2.resize((~hidden).astype(np.uint8), size)
    seen = [
        finder.detectAndCompute(cv2.resize(p, size, interpolation=cv2.INTER_AREA), looked)
        for p in (before, now)
    ]
    (first, one), (second, other) = seen
    none = np.zeros((0, 2))
    if min(len(first), len(second)) < FEWEST:
        return none, none
    back = {m.queryIdx: m.trainIdx for m in matcher.match(other, one)}
    pairs = [
        (best.queryIdx, best.trainIdx)
        for best, next_best in matcher.knnMatch(one, other, k=2)
        if best.distance < PLAIN * next_best.distance and back[best.trainIdx] == best.queryIdx
    ]
    middle = np.array(size) / 2
    a = np.array([first[m].pt for m, _ in pairs]).reshape(-1, 2) - middle
    b = np.array([second[n].pt for _, n in pairs]).reshape(-1, 2) - middle
    return a / size[0], b / size[0]


def _turned(a: Points, b: Points) -> tuple[int, float]:
    """How many matches one turn of the camera explains at most, and its angle in radians.

    Two rays and where they went make a turn; its quality is how many others went so too."""
    rng = np.random.default_rng(0)
    pairs = rng.integers(len(a), size=(TRIES, 2))
    best, angle = 0, 0.0
    for focal in FOCAL:
        rays, went = _rays(a, focal), _rays(b, focal)
        turns = _triads(went[pairs]) @ _triads(rays[pairs]).transpose(0, 2, 1)
        agree = (np.einsum("tij,nj,ni->tn", turns, rays, went) > math.cos(NEAR)).sum(1)
        first = int(agree.argmax())
        if agree[first] > best:
            best = int(agree[first])
            angle = math.acos(float(np.clip((np.trace(turns[first]) - 1) / 2, -1.0, 1.0)))
    return best, angle


def _rays(points: Points, focal: float) -> Points:
    rays = np.column_stack([points, np.full(len(points), focal)])
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))


def _triads(pairs: Points) -> Points:
    """Right-angled axes along the first of two rays and in their plane (T × 2 × 3 to T × 3 × 3, axes in columns)."""
    first, second = pairs[:, 0], pairs[:, 1]
    normal = np.cross(first, second)
    normal = normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9)
    return np.stack([first, normal, np.cross(first, normal)], axis=2)


def _radial(a: Points, b: Points) -> tuple[int, float]:
    """How many matches stay on their radius, drawn in by no more than that says (one coefficient of Brown 1966), and by how
    many times more than the inner half of them the outer half was."""
    far_a, far_b = np.hypot(*a.T), np.hypot(*b.T)
    off = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / (far_a * far_b + 1e-9)
    stays = (off < ALONG) & ((a * b).sum(1) > 0) & (np.minimum(far_a, far_b) > CENTRE)
    if stays.sum() < FEWEST:
        return 0, 1.0
    ratio, far = (far_a / far_b)[stays], far_b[stays]
    off = np.zeros(len(far))
    for _ in range(FITS):
        near = off <= max(EVEN, float(np.median(off)))
        off = np.abs(ratio / np.polyval(np.polyfit(far[near] ** 2, ratio[near], 1), far**2) - 1.0)
    inner = far <= np.median(far)
    return int((off < EVEN).sum()), float(np.median(ratio[~inner]) / np.median(ratio[inner]))
