"""Distil the encoder that ships from ImageNet features, on footage whose licence allows it.

    python -m training.shipped.distill --data DRIVING --weights mobilenet_v2_1.0_224.npz --out engines/shipped/road --seed 0

``DRIVING`` holds ``manifest.csv`` (columns path, ship, …); only rows with ``ship`` = yes are read. The
student predicts, at every cell of its late map and for the picture as a whole, the principal components of
the teacher's last features. The error is weighted by 1/σ per component, half way to whitening, because the
density that stands on these features whitens them."""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from engines.errors import InputError
from engines.whole_file import write_whole
from training.export import to_onnx
from training.shipped.road_encoder import INPUT_SIZE, RoadEncoder, multiply_adds
from training.shipped.teacher import MobileNetV2, warm_start
from training.shipped.views import load_drives, random_view

TEACHER_SIZE = (224, 336)
COMPONENTS = 128


def shippable(data: Path) -> list[Path]:
    """Return the paths of the manifest's rows on which weights that ship may be trained."""
    manifest = data / "manifest.csv"
    if not manifest.is_file():
        raise InputError(
            manifest,
            "must be the drive manifest; it does not exist",
            "give the folder that holds it as --data",
        )
    with manifest.open(newline="") as file:
        return [data / row["path"] for row in csv.DictReader(file) if row["ship"] == "yes"]


def make_views(paths: list[Path], count: int, seed: int) -> NDArray[np.uint8]:
    """Draw ``count`` views at the teacher's size, drives chosen equally often (N×224×336×3)."""
    random = np.random.default_rng(seed)
    drives = load_drives(paths, every=2)
    views = np.empty((count, *TEACHER_SIZE, 3), np.uint8)
    for index in range(count):
        drive = drives[random.integers(len(drives))]
        views[index] = random_view(drive[random.integers(len(drive))], TEACHER_SIZE, random)
    return views


def teach(
    teacher: MobileNetV2, views: NDArray[np.uint8], cells: tuple[int, int], device: str
) -> tuple[Tensor, Tensor]:
    """Return the teacher's components per cell (N×C×h×w), scaled to a unit picture vector, and each
    component's σ (C)."""
    maps = []
    started = time.monotonic()
    for start in range(0, len(views), 32):
        batch = torch.from_numpy(views[start : start + 32]).to(device)
        maps.append(F.adaptive_avg_pool2d(teacher(batch), cells).half().cpu())
        if start % 960 == 0:
            print(
                f"teacher {start + len(batch)}/{len(views)} views, {time.monotonic() - started:.0f} s",
                flush=True,
            )
    features = torch.cat(maps).float()
    features /= features.mean((2, 3)).norm(dim=1)[:, None, None, None]
    pooled = features.mean((2, 3))
    # Uncentred: the projection must commute with the L2 normalisation that the density applies later.
    _, _, basis = torch.linalg.svd(pooled, full_matrices=False)
    targets = torch.einsum("nchw,kc->nkhw", features, basis[:COMPONENTS])
    return targets, targets.mean((2, 3)).std(0)


def fit_student(
    student: RoadEncoder,
    views: NDArray[np.uint8],
    targets: Tensor,
    sigma: Tensor,
    *,
    epochs: int,
    seed: int,
    device: str,
) -> list[dict[str, float]]:
    """Train with AdamW and one cosine cycle; returns per-epoch losses on training views and on the held-out
    last tenth."""
    small = np.stack([cv2.resize(v, INPUT_SIZE[::-1], interpolation=cv2.INTER_AREA) for v in views])
    inputs, held_out = torch.from_numpy(small), len(views) // 10
    trained = len(views) - held_out
    batch = 64
    fresh = [*student.expand.parameters(), *student.head.parameters()]
    trunk = [p for part in (student.stem, student.early, student.late) for p in part.parameters()]
    # The trunk starts from ImageNet weights: a gentler pace keeps them while the new layers find their feet.
    optimiser = torch.optim.AdamW([{"params": trunk}, {"params": fresh}], weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=[4e-4, 2e-3], total_steps=epochs * (trained // batch), pct_start=0.1
    )
    weight = (1.0 / sigma / (1.0 / sigma).mean()).to(device)[None, :, None, None]

    def loss_of(rows: Tensor) -> Tensor:
        predicted = student(inputs[rows].to(device))[0]
        wanted = targets[rows].to(device)
        picture = (weight[:, :, 0, 0] * (predicted.mean((2, 3)) - wanted.mean((2, 3))) ** 2).mean()
        cells = (weight * (predicted - wanted) ** 2).mean()
        return (picture + 0.1 * cells) / (weight * wanted.mean((2, 3), keepdim=True).var(0)).mean()

    generator = torch.Generator().manual_seed(seed)
    history = []
    started = time.monotonic()
    for epoch in range(epochs):
        student.train()
        total, steps = 0.0, trained // batch
        order = torch.randperm(trained, generator=generator)
        for step in range(steps):
            optimiser.zero_grad()
            loss = loss_of(order[step * batch : (step + 1) * batch])
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        student.eval()
        with torch.no_grad():
            rest = torch.arange(trained, len(views)).split(batch)
            validation = float(np.mean([float(loss_of(rows)) for rows in rest]))
        history.append({"epoch": epoch + 1, "train": total / steps, "held_out": validation})
        print(f"epoch {epoch + 1}/{epochs}: {history[-1]}, {time.monotonic() - started:.0f} s", flush=True)
    return history


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--views", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    teacher = MobileNetV2(options.weights).to(device).eval()
    student = RoadEncoder(COMPONENTS)
    warm_start(student, teacher)
    views = make_views(shippable(options.data), options.views, options.seed)
    targets, sigma = teach(teacher, views, (3, 5), device)
    student.to(device)
    history = fit_student(
        student, views, targets, sigma, epochs=options.epochs, seed=options.seed, device=device
    )

    options.out.mkdir(parents=True, exist_ok=True)
    graph = to_onnx(student.cpu(), INPUT_SIZE, ("late", "early"))
    write_whole(options.out / "encoder.onnx", graph.SerializeToString())
    record = {
        "seed": options.seed,
        "views": options.views,
        "epochs": options.epochs,
        "device": device,
        "gflop": 2 * multiply_adds(student) / 1e9,
        "teacher": options.weights.name,
        "history": history,
    }
    write_whole(options.out / "training.json", (json.dumps(record, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
