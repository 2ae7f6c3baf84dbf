"""What this machine is, as far as engines care; asks no library, so that asking costs nothing."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

_NVIDIA = Path("/proc/driver/nvidia")
_WINDOWS_SUBSYSTEM = Path("/dev/dxg")


_WIDTHS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
_WIDTHS_OF_ARM = ("asimddp", "i8mm", "bf16", "sve", "sve2", "sme")
"""What libraries look at before they choose how to compute."""


def processor() -> str:
    """Name of the processor, how many cores this process may use, and what they can do: different ones share a name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = _cpuinfo("model name") or platform.processor() or platform.machine()
    known = {*_cpuinfo("flags").split(), *_cpuinfo("Features").split()}
    able = [width for width in (*_WIDTHS, *_WIDTHS_OF_ARM) if width in known]
    return ", ".join([name, f"{cores} core{'s' * (cores != 1)}", *([" ".join(able)] * bool(able))])


def sums_saturate() -> bool:
    """Whether this is an x86 processor without VNNI, which adds 8-bit products in pairs to 16 bits."""
    flags = _cpuinfo("flags").split()
    return bool(flags) and not {"avx512_vnni", "avx_vnni"}.intersection(flags)


def _cpuinfo(field: str) -> str:
    """What Linux says of the first processor; empty elsewhere."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == field:
                return value.strip()
    return ""


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
