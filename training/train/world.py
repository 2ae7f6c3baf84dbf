"""One process, or several that torchrun started: who this one is, and which device is its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from engines.errors import ConfigError

PATIENCE = timedelta(minutes=30)
"""How long processes wait for each other: for footage to be read, or for the first of them to judge an epoch."""


@dataclass(frozen=True, slots=True)
class World:
    """rank: of this process among ``size``. device: what it computes on."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def summed(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def agreed(self, values: torch.Tensor) -> torch.Tensor:
        """What the first process says, for a decision that all must take alike."""
        if self.size > 1:
            dist.broadcast(values, src=0)
        return values


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the processes that torchrun started, if it did, and leave them in the end."""
    rank, size, local = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    chosen = _device(device, local, size)
    if size == 1:
        yield World(rank, size, chosen)
        return
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield World(rank, size, chosen)
    finally:
        dist.destroy_process_group()


def _device(name: str, local: int, size: int) -> torch.device:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if count else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            "device", f"must be auto, cpu, cuda or cuda:N, got {name!r}", "check --device"
        ) from error
    if device.type != "cuda":
        return device
    if not count:
        raise ConfigError("device", f"must be there; torch sees no GPU for {name!r}", "use --device cpu")
    index = local if size > 1 else device.index or 0
    if index >= count:
        raise ConfigError(
            "device", f"must be one of {count} GPUs, got number {index}", "start fewer processes"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)
