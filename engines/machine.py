"""What this machine is, as far as engines care; asks no library, so that asking costs nothing."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

_NVIDIA = Path("/proc/driver/nvidia")
_WINDOWS_SUBSYSTEM = Path("/dev/dxg")


def processor() -> str:
    """Name of the processor and how many cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    return f"{name}, {cores} core{'s' * (cores != 1)}"


def sums_saturate() -> bool:
    """Whether this is an x86 processor without VNNI, which adds 8-bit products in pairs to 16 bits."""
    with suppress(OSError):
        flags = next(
            (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), ""
        )
        return bool(flags) and not {"avx512_vnni", "avx_vnni"} & set(flags.split())
    return False


def gpu_name() -> str:
    """Names of the NVIDIA GPUs whose driver is loaded, empty without one."""
    names = []
    for file in sorted(_NVIDIA.glob("gpus/*/information")):
        for line in file.read_text().splitlines():
            if line.startswith("Model:"):
                names.append(line.partition(":")[2].strip())
    if not names and (_WINDOWS_SUBSYSTEM.exists() or any(Path("/dev").glob("nvidia[0-9]*"))):
        return "NVIDIA GPU"
    return ", ".join(names)


def gpu_driver() -> str:
    """Version of the loaded NVIDIA driver, empty without one."""
    try:
        words = (_NVIDIA / "version").read_text().split()
    except OSError:
        return ""
    return next((word for word in words if word.count(".") >= 1 and word[0].isdigit()), "")


def identity() -> str:
    """This machine in a line: a measurement made on another one says nothing here."""
    parts = [platform.system(), platform.machine(), processor(), gpu_name(), gpu_driver()]
    return "; ".join(part for part in parts if part)
