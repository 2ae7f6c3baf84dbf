"""The training loop: frames in, an encoder out. One file, from top to bottom; processor, one GPU or several alike.

Every epoch is a function of the seed, its number and the weights before it, so that a training that was interrupted goes
on as if it had not been: bit for bit on a CPU with the same number of threads."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from engines.console import Advance, progress
from engines.errors import ConfigError, InputError, OutputError, SightlineError
from training.models import build
from training.train import checkpoint
from training.train.augment import MARGIN, Augmentation, Viewer, check_faults, is_mixed, resized
from training.train.batches import ahead, batches, on_device
from training.train.config import Config, Optimisation
from training.train.data import Frames, Sources, by_drive, split
from training.train.world import World, joined

WARM_UP = 0.05
FINAL_RATE = 0.01
BETTER = 1e-4
"""Share of the best loss by which an epoch must be better to count."""
AT_LEAST = 8
"""Frames without which nothing is taught."""


@dataclass(slots=True)
class State:
    """Where a training stands. epoch: how many are done. best_epoch: 0 where none has been judged. history: a row per
    epoch."""

    epoch: int = 0
    step: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What came of it. model: with the weights of ``state.best_epoch``, on the CPU. taught, held_out: names of drives.
    first: whether this process is the one to go on."""

    model: Any
    state: State
    taught: tuple[str, ...]
    held_out: tuple[str, ...]
    notes: tuple[str, ...]
    first: bool


class Learner(nn.Module):
    """A model seen from its loss: what several processes share the gradient of."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, clean: Tensor, epoch: float) -> dict[str, Tensor]:
        return self.model.loss(frames, clean, epoch)  # type: ignore[no-any-return]


def train(config: Config, sources: Sources, folder: Path, *, resume: bool = False) -> Trained:
    """Train the configured model on the normal drives; checkpoints and ``log.csv`` go to ``folder``.

    ``folder`` must be new, or ``resume`` goes on from its last checkpoint, taught on the same footage. The best epoch on held-out drives
    is returned, the last where there is only one drive."""
    check_faults(config.augmentation.faults)
    with joined(config.optimisation.device) as world:
        if world.first:
            _open(folder, resume)
        torch.manual_seed(config.seed)
        model = build(config.model).to(world.device, memory_format=torch.channels_last)
        frames, held_out = _read(config, sources, model.size)
        taught = frames.only(lambda drive: drive.name not in held_out)
        judged = frames.only(lambda drive: drive.name in held_out)
        viewer = _viewer(config, frames, model.size)
        loop = Loop(config, world, model, folder, frames.digest)
        if resume:
            loop.restore()
        try:
            loop.run(taught, judged, viewer)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise _out_of_memory(config, world) from error
        best = checkpoint.load(folder / "best.pt") if world.first else {"model": model.state_dict()}
        model.load_state_dict(best["model"])
        names = tuple(tuple(c.drive.name for c in part.clips) for part in (taught, judged))
        return Trained(model.cpu().eval(), loop.state, names[0], names[1], tuple(frames.notes), world.first)


def _open(folder: Path, resume: bool) -> None:
    """Make the folder of checkpoints; one with an earlier training in it is not overwritten."""
    if folder.exists() and not resume:
        raise OutputError(
            folder, "must be new, holds an earlier training", "add --resume to go on with it, or delete it"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(folder, f"must be writable: {error.strerror}", "choose another --out") from error


def _read(config: Config, sources: Sources, size: tuple[int, int]) -> tuple[Frames, frozenset[str]]:
    """All frames, and the names of the drives to hold out."""
    plain = config.augmentation == Augmentation(crop=0.0) and config.harmony.when == "never"
    working = size if plain else tuple(math.ceil(n * MARGIN) for n in size)
    data = config.data
    frames = Frames(
        (working[0], working[1]),
        1.0 / data.rate,
        int(data.memory_gib * 2**30),
        images_per_second=data.images_per_second,
        ignored=data.ignored,
    )
    frames.read(sources.normal, "reading footage")
    if len(frames) < AT_LEAST:
        raise InputError(
            "footage", f"must be at least {AT_LEAST} frames, got {len(frames)}", "give more footage"
        )
    if not frames.varies:
        raise InputError(
            "footage", "must vary; every frame shows the same picture", "give footage of driving"
        )
    held_out = split(sources, frames, data.held_out, config.seed)
    if frames.streamed:
        frames.notes.append(
            f"{frames.streamed} of {len(frames)} frames do not fit into {data.memory_gib:g} GiB and are decoded in every epoch"
        )
    return frames, held_out


def _viewer(config: Config, frames: Frames, size: tuple[int, int]) -> Viewer:
    when = config.harmony.when
    harmonise = when == "always" or (when == "mixed" and is_mixed(frames.clips))
    return Viewer(size, config.augmentation, config.harmony if harmonise else None)


class Loop:
    """A model on its way through the epochs."""

    def __init__(self, config: Config, world: World, model: Any, folder: Path, footage: str) -> None:
        self.config, self.options, self.world = config, config.optimisation, world
        self.folder, self.footage = folder, footage
        self.model, self.state = model, State()
        self.learner: Any = Learner(model)
        if world.size > 1:
            self.learner = DistributedDataParallel(self.learner)
        self.optimiser = torch.optim.AdamW(
            model.parameters(), lr=self.options.learning_rate, weight_decay=self.options.weight_decay
        )
        self.half = _half(world, self.options)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=self.half == torch.float16)
        self.started = time.monotonic()

    def run(self, taught: Frames, judged: Frames, viewer: Viewer) -> None:
        """Train until the epochs are over or held-out drives have long been told no better."""
        steps = math.ceil(len(taught) / self.options.batch)
        total, state = steps * self.options.epochs, self.state
        board = _board(self.options, self.folder) if self.world.first else None
        showing = progress("training", total, "batches") if self.world.first else nullcontext(_silent)
        with showing as advance:
            advance(state.step)
            while state.epoch < self.options.epochs and not self._stale(judged):
                row = {"epoch": state.epoch + 1.0} | self._epoch(taught, viewer, steps, advance)
                row |= self._judge(judged, viewer.size)
                if not all(map(math.isfinite, row.values())):
                    raise self._diverged()
                state.epoch += 1
                self._keep(row)
                if board is not None:
                    for name, value in row.items():
                        board.add_scalar(name, value, state.epoch)
        if board is not None:
            board.close()

    def _epoch(self, taught: Frames, viewer: Viewer, steps: int, advance: Advance) -> dict[str, float]:
        """One pass over the training drives; returns the means of the loss and its terms."""
        self.learner.train()
        seed = (self.config.seed, self.state.epoch)
        torch.manual_seed(int(np.random.SeedSequence((*seed, self.world.rank)).generate_state(1)[0]))
        sums: dict[str, Tensor] = {}
        count, rate = 0, 0.0
        for step, (frames, clean) in enumerate(
            ahead(batches(taught, viewer, seed, self.options.batch, self.world))
        ):
            rate = self.options.learning_rate * _pace(self.state.step, steps * self.options.epochs)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            with self._autocast():
                terms = self.learner(frames, clean, self.state.epoch + step / steps)
                loss = sum(terms.values())
            if not torch.isfinite(loss):
                raise self._diverged()
            self.optimiser.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)
            self.scaler.step(self.optimiser)
            self.scaler.update()
            self.state.step += 1
            count += len(frames)
            for name, term in {"loss": loss, **terms}.items():
                sums[name] = sums.get(name, 0.0) + term.detach() * len(frames)
            advance(1, f"epoch {self.state.epoch + 1}/{self.options.epochs}, loss {loss.item():.4g}")
        means = self.world.summed(torch.stack([*sums.values(), torch.full_like(loss, float(count))]))
        values = (means[:-1] / means[-1]).tolist()
        return {"rate": rate, **dict(zip(sums, values, strict=True))}

    @torch.no_grad()
    def _judge(self, judged: Frames, size: tuple[int, int]) -> dict[str, float]:
        """Means of the loss and its terms over held-out drives, each of which weighs the same, at the weights that the
        terms have in the end. Empty without such drives."""
        if not judged.clips:
            return {}
        self.model.eval()
        drives: list[Tensor] = []
        names: list[str] = []
        for _, samples in by_drive(judged.in_order()) if self.world.first else ():
            sums, count = torch.zeros(1, device=self.world.device), 0
            while rows := list(islice(samples, self.options.batch)):
                frames = on_device([resized(r.image, size) for r in rows], self.world)
                with self._autocast():
                    terms = self.model.loss(frames, frames, math.inf)
                names = list(terms)
                sums = sums + torch.stack([t.float() for t in terms.values()]) * len(rows)
                count += len(rows)
            drives.append(sums / count)
        means = torch.stack(drives).mean(0) if drives else torch.zeros(1, device=self.world.device)
        total = self.world.agreed(means.sum()).item()
        return {"held_out": total, **{f"held_out.{n}": float(v) for n, v in zip(names, means, strict=False)}}

    def _keep(self, row: dict[str, float]) -> None:
        """Note an epoch; the first process writes it down. The best weights go first: should the disk be full, the last
        checkpoint still leads to the epoch that made them."""
        state = self.state
        judged = row.get("held_out", -math.inf)
        state.history.append({**row, "seconds": time.monotonic() - self.started})
        best = "held_out" not in row or judged < state.best_loss - BETTER * abs(state.best_loss)
        if best or not state.best_epoch:
            state.best_epoch, state.best_loss = state.epoch, judged
        if not self.world.first:
            return
        if state.best_epoch == state.epoch:
            checkpoint.save(self.folder / "best.pt", {"model": self.model.state_dict()})
        checkpoint.save(self.folder / "last.pt", self._packed())
        checkpoint.write_table(self.folder / "log.csv", state.history)

    def _packed(self) -> dict[str, Any]:
        return {
            "config": msgspec.json.encode(self.config, enc_hook=str).decode(),
            "footage": self.footage,
            "state": {name: getattr(self.state, name) for name in State.__dataclass_fields__},
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self) -> None:
        """Go on from the last checkpoint; another model, other footage or another seed raises ConfigError."""
        path = self.folder / "last.pt"
        packed = checkpoint.load(path)
        was = msgspec.json.decode(packed["config"])
        now = msgspec.json.decode(msgspec.json.encode(self.config, enc_hook=str))
        for section in (name for name in now if name != "optimisation" and was.get(name) != now[name]):
            raise ConfigError(
                f"{path}: {section}",
                f"must be as when the training began, {_first_difference(was.get(section), now[section])}",
                "leave --resume out, with another --out, to begin anew",
            )
        if packed["footage"] != self.footage:
            raise InputError(
                f"{path}: footage",
                "must be as when the training began, but its frames are others now",
                "give the same files, or begin anew with another --out",
            )
        self.model.load_state_dict(packed["model"])
        self.optimiser.load_state_dict(packed["optimiser"])
        self.scaler.load_state_dict(packed["scaler"])
        self.state = State(**packed["state"])

    def _stale(self, judged: Frames) -> bool:
        return bool(judged.clips) and self.state.epoch - self.state.best_epoch >= self.options.patience

    def _autocast(self) -> Any:
        return torch.autocast(self.world.device.type, self.half) if self.half else nullcontext()

    def _diverged(self) -> SightlineError:
        epoch, rate = self.state.epoch, self.options.learning_rate
        return SightlineError(
            "training",
            f"the loss must stay finite, but did not in epoch {epoch + 1} at learning rate {rate:g}; "
            + (f"the checkpoint of epoch {epoch} is kept" if epoch else "there is no checkpoint yet"),
            f"{'add --resume and ' if epoch else ''}try --learning-rate {rate / 3:.1g}",
        )


def _pace(step: int, total: int) -> float:
    """Share of the learning rate at a step: a rise over the first of them, then one cosine."""
    rise = max(1, round(WARM_UP * total))
    if step < rise:
        return (step + 1) / rise
    return FINAL_RATE + (1.0 - FINAL_RATE) * 0.5 * (
        1.0 + math.cos(math.pi * (step - rise) / max(1, total - rise))
    )


def _half(world: World, options: Optimisation) -> torch.dtype | None:
    """The short type that a GPU multiplies fastest: bfloat16 has float32's range and needs no scaling of the loss."""
    if world.device.type != "cuda" or options.precision == "float32":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _board(options: Optimisation, folder: Path) -> Any:
    """TensorBoard's writer, where it is wanted; ConfigError where it is not installed."""
    if not options.tensorboard:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "optimisation.tensorboard",
            "needs the package tensorboard",
            "pip install tensorboard, or see log.csv",
        ) from error
    return SummaryWriter(str(folder))


def _silent(n: int = 1, note: str = "") -> None: ...


def _first_difference(was: Any, now: Any) -> str:
    if isinstance(was, dict) and isinstance(now, dict):
        key = next(k for k in (*now, *was) if was.get(k) != now.get(k))
        return f"{key} was {was.get(key)!r}, is {now.get(key)!r}"
    return f"it was {was!r}, is {now!r}"


def _out_of_memory(config: Config, world: World) -> SightlineError:
    batch, size = config.optimisation.batch, config.model.size
    where = "the GPU" if world.device.type == "cuda" else "the machine"
    return SightlineError(
        "training",
        f"{where} must have room for a batch, ran out of memory with {batch} frames of {size[0]} × {size[1]}",
        f"try --batch {batch // 2}" if batch > 1 else "try a smaller --size",
    )
