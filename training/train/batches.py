"""From frames to batches of views: the same for a seed and an epoch, however many processes share them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from engines.frames import Image
from training.train.augment import Viewer
from training.train.data import Frames
from training.train.world import World


def batches(
    frames: Frames, viewer: Viewer, seed: tuple[int, int], size: int, world: World
) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's share of every batch of ``size`` frames, as what the model sees and what it is to answer (uint8
    N×H×W×3, on the device). seed: of the training, and the epoch. Every frame comes once, but for the few by which the
    last batch cannot be shared out evenly."""
    samples = frames.shuffled(np.random.default_rng(seed))
    done = 0
    while rows := list(islice(samples, size)):
        # A view's randomness is that of its place in the epoch, whichever process draws it.
        mine = range(world.rank, len(rows) // world.size * world.size, world.size)
        views = [viewer.view(rows[i], np.random.default_rng((*seed, done + i))) for i in mine]
        done += len(rows)
        if views:
            seen, clean = zip(*views, strict=True)
            yield on_device(seen, world), on_device(clean, world)


def on_device(images: tuple[Image, ...] | list[Image], world: World) -> Tensor:
    return torch.from_numpy(np.stack(images)).to(world.device)


def ahead(items: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The same, with the next one made while this one is in use."""
    with ThreadPoolExecutor(1, "batches") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
