"""The training loop: what it learns, how it stops and goes on, and that nothing is half written."""

from __future__ import annotations

import contextlib
import csv
import math
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from engines.bundle import open_bundle
from engines.errors import ConfigError, InputError, OutputError, SightlineError
from engines.rendered import Segment, render, write_video
from training.models import MODELS, AutoencoderOptions, Kind, ModelOptions, VaeOptions
from training.models.autoencoder import Autoencoder
from training.train import checkpoint
from training.train.augment import Augmentation
from training.train.config import Config, Data, Optimisation
from training.train.data import Sources, gather
from training.train.loop import Trained, train
from training.train.world import joined

SIZE = (48, 64)
FPS = 2.0


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Bit for bit the same needs the same number of threads, and small tensors are slower on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three drives of 12 s."""
    folder = tmp_path_factory.mktemp("drives")
    for seed in range(3):
        images = (image for _, _, image in render((Segment("highway", 12.0),), seed, (96, 64), FPS))
        write_video(folder / f"drive{seed}.mp4", images, FPS)
    return folder


@pytest.fixture(scope="module")
def sources(drives: Path) -> Sources:
    return gather([drives])


def config(model: ModelOptions | None = None, **optimisation: Any) -> Config:
    return Config(
        model=model or VaeOptions(SIZE, latent=8),
        data=Data(rate=FPS),
        optimisation=Optimisation(**({"epochs": 2, "batch": 16, "device": "cpu"} | optimisation)),
    )


def go(folder: Path, sources: Sources, wanted: Config, *, resume: bool = False) -> Trained:
    return train(wanted, sources, folder, resume=resume)


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "log.csv").open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def test_it_learns_judges_by_a_held_out_drive_and_writes_it_down(tmp_path: Path, sources: Sources) -> None:
    trained = go(tmp_path / "t", sources, config(epochs=3))
    assert len(trained.taught) == 2
    assert len(trained.held_out) == 1
    assert {*trained.taught, *trained.held_out} == {"drive0", "drive1", "drive2"}
    log = rows(tmp_path / "t")
    assert [row["epoch"] for row in log] == [1, 2, 3]
    assert log[-1]["held_out"] < log[0]["held_out"]
    assert log[-1]["held_out"] == pytest.approx(
        log[-1]["held_out.reconstruction"] + log[-1]["held_out.divergence"], rel=1e-6
    )
    best = min(log, key=lambda row: row["held_out"])
    assert trained.state.best_loss == pytest.approx(best["held_out"])
    kept = checkpoint.load(tmp_path / "t" / "best.pt")["model"]
    assert all(torch.equal(kept[name], tensor) for name, tensor in trained.model.state_dict().items())
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == ["best.pt", "last.pt", "log.csv"]


class Interrupted(Autoencoder):
    """Raises ``error`` at its ``after``-th loss."""

    error: BaseException
    after = 0
    losses = 0

    def loss(self, frames: Any, clean: Any, epoch: float) -> dict[str, Any]:
        type(self).losses += 1
        if type(self).losses > self.after:
            raise self.error
        return super().loss(frames, clean, epoch)


def interrupting(monkeypatch: pytest.MonkeyPatch, error: BaseException, after: int) -> None:
    """The autoencoder of the table, until it has answered ``after`` times."""
    kind = type("Interrupting", (Interrupted,), {"error": error, "after": after})
    monkeypatch.setitem(MODELS, "autoencoder", Kind(AutoencoderOptions, kind, trained=True))


def test_an_interrupted_training_goes_on_bit_for_bit(
    tmp_path: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = config(AutoencoderOptions(SIZE, latent=8), epochs=3)
    whole = go(tmp_path / "whole", sources, wanted)
    with monkeypatch.context() as patched:
        # Each epoch takes 3 steps and 2 looks at the held-out drive: this is in the middle of the second.
        interrupting(patched, KeyboardInterrupt(), 6)
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path / "parts", sources, wanted)
    assert len(rows(tmp_path / "parts")) == 1
    parts = go(tmp_path / "parts", sources, wanted, resume=True)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, parts.model.state_dict()[name]), name
    last = [checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "parts")]
    for a, b in zip(*(one["optimiser"]["state"].values() for one in last), strict=True):
        assert torch.equal(a["exp_avg_sq"], b["exp_avg_sq"])
    drop = {"seconds"}
    logs = [
        [{k: v for k, v in r.items() if k not in drop} for r in rows(tmp_path / n)]
        for n in ("whole", "parts")
    ]
    assert logs[0] == logs[1]


def test_the_same_seed_draws_the_same_noise(tmp_path: Path, sources: Sources) -> None:
    one, two = (go(tmp_path / name, sources, config(epochs=1)) for name in ("one", "two"))
    assert all(torch.equal(t, two.model.state_dict()[name]) for name, t in one.model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"seed": 1}, ConfigError, "seed: must be as when the training began, it was 0, is 1"),
        ({"model": VaeOptions(SIZE, latent=9)}, ConfigError, "model: .*latent was 8, is 9"),
        ({"data": Data(rate=1.0)}, ConfigError, "data: .*rate was 2.0, is 1.0"),
    ],
    ids=["seed", "model", "data"],
)
def test_another_training_is_not_gone_on_with(
    change: dict[str, Any], error: type[SightlineError], says: str, tmp_path: Path, sources: Sources
) -> None:
    wanted = config(epochs=1)
    go(tmp_path / "t", sources, wanted)
    with pytest.raises(error, match=says):
        go(tmp_path / "t", sources, msgspec.structs.replace(wanted, **change), resume=True)


def test_other_footage_is_not_gone_on_with(tmp_path: Path, sources: Sources) -> None:
    go(tmp_path / "t", sources, config(epochs=1))
    fewer = Sources(sources.normal[:2], sources.groups[:2])
    with pytest.raises(InputError, match="its frames are others now"):
        go(tmp_path / "t", fewer, config(epochs=1), resume=True)


@pytest.mark.parametrize("content", [None, b"", b"half a checkpoint"], ids=["none", "empty", "garbage"])
def test_a_checkpoint_that_is_none_is_told(content: bytes | None, tmp_path: Path, sources: Sources) -> None:
    if content is not None:
        (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(InputError, match="must be a checkpoint") as caught:
        go(tmp_path, sources, config(), resume=True)
    assert "\n" not in str(caught.value)


def test_it_stops_when_held_out_drives_are_told_no_better(tmp_path: Path, sources: Sources) -> None:
    """At a learning rate of almost nothing no epoch is better than the first."""
    trained = go(tmp_path / "t", sources, config(epochs=9, patience=2, learning_rate=1e-12))
    assert (trained.state.epoch, trained.state.best_epoch) == (3, 1)


def test_a_loss_that_is_no_number_ends_it_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, sources: Sources
) -> None:
    go(tmp_path / "t", sources, config(epochs=1))
    before = (tmp_path / "t" / "last.pt").read_bytes()
    wild = config(epochs=3, learning_rate=1e30, clip=1e30)
    with pytest.raises(SightlineError, match="must stay finite, but did not in epoch 2") as caught:
        go(tmp_path / "t", sources, wild, resume=True)
    assert "the checkpoint of epoch 1 is kept; add --resume and try --learning-rate 3e+29" in str(
        caught.value
    )
    assert (tmp_path / "t" / "last.pt").read_bytes() == before
    assert go(tmp_path / "t", sources, config(epochs=2), resume=True).state.epoch == 2


def test_a_loss_that_is_no_number_at_once_leaves_no_checkpoint(tmp_path: Path, sources: Sources) -> None:
    with pytest.raises(
        SightlineError, match=r"in epoch 1 .*; there is no checkpoint yet; try --learning-rate"
    ):
        go(tmp_path / "t", sources, config(epochs=1, learning_rate=1e30, clip=1e30))
    assert list((tmp_path / "t").iterdir()) == []


def test_an_earlier_training_is_not_overwritten(tmp_path: Path, sources: Sources) -> None:
    (tmp_path / "t").mkdir()
    with pytest.raises(OutputError, match="must be new, holds an earlier training; add --resume"):
        go(tmp_path / "t", sources, config())


def test_a_full_gpu_is_told_with_a_batch_to_try(
    tmp_path: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupting(monkeypatch, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), 1)
    with pytest.raises(SightlineError, match=r"ran out of memory with 16 frames of 48 × 64; try --batch 8"):
        go(tmp_path / "t", sources, config(AutoencoderOptions(SIZE, latent=8)))


def test_a_full_disk_leaves_the_checkpoint_that_was_there(tmp_path: Path) -> None:
    """The limit on a file's size stands for a disk with so much room: the write fails in the middle."""
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"model": {"w": torch.zeros(1000)}, "epoch": 1})
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        with pytest.raises(OutputError, match=r"must be writable: .*; free space"):
            checkpoint.save(path, {"model": {"w": torch.zeros(100_000)}, "epoch": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == before
    assert checkpoint.load(path)["epoch"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_disk_that_is_really_full_is_told_and_the_training_goes_on_once_there_is_room(
    tmp_path: Path, sources: Sources
) -> None:
    """A disk of 16 MiB that is full when the second epoch ends."""
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(tmp_path)], capture_output=True
    ).returncode:
        pytest.skip("mounting a small disk takes the rights of root")
    try:
        go(tmp_path / "t", sources, config(AutoencoderOptions(SIZE, latent=8), epochs=1))
        last, filler = tmp_path / "t" / "last.pt", tmp_path / "filler"
        before = last.read_bytes()
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        with pytest.raises(
            OutputError, match="must be writable: No space left on device; free space"
        ) as caught:
            go(tmp_path / "t", sources, config(AutoencoderOptions(SIZE, latent=8), epochs=2), resume=True)
        assert "\n" not in str(caught.value)
        assert last.read_bytes() == before
        assert sorted(p.name for p in (tmp_path / "t").iterdir()) == ["best.pt", "last.pt", "log.csv"]
        filler.unlink()
        again = go(tmp_path / "t", sources, config(AutoencoderOptions(SIZE, latent=8), epochs=2), resume=True)
        assert again.state.epoch == 2
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_one_drive_cannot_be_judged_by_another(tmp_path: Path, sources: Sources) -> None:
    alone = Sources(sources.normal[:1], sources.groups[:1])
    trained = go(tmp_path / "t", alone, config(epochs=2, patience=1))
    assert trained.held_out == ()
    assert trained.state.best_epoch == trained.state.epoch == 2
    assert "held_out" not in rows(tmp_path / "t")[0]


def test_frames_that_do_not_fit_in_memory_teach_as_well(tmp_path: Path, sources: Sources) -> None:
    wanted = msgspec.structs.replace(config(epochs=2), data=Data(rate=FPS, memory_gib=1e-6))
    trained = go(tmp_path / "t", sources, wanted)
    assert any("72 of 72 frames do not fit" in note for note in trained.notes)
    log = rows(tmp_path / "t")
    assert log[-1]["held_out"] < log[0]["held_out"]


def test_faults_are_seen_but_not_asked_for(tmp_path: Path, sources: Sources) -> None:
    wanted = config(AutoencoderOptions(SIZE, latent=8), epochs=1)
    with pytest.raises(
        ConfigError, match=r"must be faults of single pictures, got freeze; known are .*noise"
    ):
        go(
            tmp_path / "t",
            sources,
            msgspec.structs.replace(wanted, augmentation=Augmentation(faults=("freeze",))),
        )
    damaged = msgspec.structs.replace(wanted, augmentation=Augmentation(faults=("noise",), fault_share=1.0))
    assert math.isfinite(go(tmp_path / "t", sources, damaged).state.best_loss)


@pytest.mark.parametrize(
    ("device", "says"),
    [("cuda", "torch sees no GPU for 'cuda'"), ("gpu", "must be auto, cpu, cuda or cuda:N, got 'gpu'")],
)
def test_a_device_that_is_not_there_is_told(device: str, says: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has the GPU that the test wants missing")
    with pytest.raises(ConfigError, match=says), joined(device):
        pass


def test_two_processes_learn_what_one_does(tmp_path: Path, drives: Path) -> None:
    """torchrun for real: half the batch each, the mean of their gradients, one of them writes."""
    command = ["train", "--normal", str(drives), "--model", "autoencoder", "--rate", "2", "--epochs", "2",
               "--size", "48x64", "--set", "model.latent=8", "--batch", "8", "--device", "cpu"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "sightline",
    ]
    done = subprocess.run(
        [*torchrun, *command, "--out", str(tmp_path / "two")], env=environment, capture_output=True, text=True, timeout=240
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained  2 epochs") == 1
    assert "the thresholds are checked on drives that the encoder was trained on" in done.stdout
    assert open_bundle(tmp_path / "two").manifest.encoder.name == "autoencoder"
    one = config(AutoencoderOptions(SIZE, latent=8), epochs=2, batch=8)
    single = go(tmp_path / "one", gather([drives]), one)
    two = checkpoint.load(tmp_path / "two.training" / "best.pt")["model"]
    for name, tensor in single.model.state_dict().items():
        np.testing.assert_allclose(two[name], tensor, atol=2e-5, err_msg=name)
    a, b = rows(tmp_path / "one"), rows(tmp_path / "two.training")
    assert [r["loss"] for r in a] == pytest.approx([r["loss"] for r in b], rel=1e-4)
