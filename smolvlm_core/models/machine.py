"""What this machine has: GPU memory, RAM, access to the model hub. Does not import torch."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import subprocess
import threading
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import getproxies

import psutil

from smolvlm_core import __version__

GIB = 2**30


def describe_bytes(count: int) -> str:
    """A size in MiB or GiB, in words."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"


@dataclass(frozen=True)
class Machine:
    """`gpu_memory_bytes` is 0 without a GPU that torch can use."""

    ram_bytes: int
    gpu_name: str
    gpu_memory_bytes: int
    hub_reachable: bool

    def describe(self) -> str:
        gpu = f"{self.gpu_name} ({self.gpu_memory_bytes / GIB:.0f} GiB)" if self.gpu_memory_bytes else "no GPU"
        return f"{gpu}, {self.ram_bytes / GIB:.0f} GiB RAM, model hub {'reachable' if self.hub_reachable else 'not reachable'}"


@lru_cache(maxsize=1)
def this_machine() -> Machine:
    """Probed once in a process. Takes up to two seconds where the hub does not answer."""
    name, memory = _gpu()
    return Machine(psutil.virtual_memory().total, name, memory, hub_reachable())


@lru_cache(maxsize=16)
def installed_version(package: str) -> str:
    """Of a Python package; "" where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


@lru_cache(maxsize=1)
def hardware() -> dict[str, str]:
    """Processor, GPU, memory and operating system, in words. Names neither users nor hosts. Probed once in a process."""
    cores, threads = psutil.cpu_count(logical=False) or 0, psutil.cpu_count() or 0
    counted = f"{cores} cores, {threads} threads" if cores and cores != threads else f"{threads} cores"
    return {
        "CPU": f"{_cpu_name()}, {counted}",
        "GPU": _gpu_with_driver() or "None that torch can use",
        "Memory": describe_bytes(psutil.virtual_memory().total),
        "System": f"{_system_name()}, {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Of this app, Python, and the packages that answer. Those that are not installed are left out."""
    packages = ("torch", "transformers", "openvino", "llama-cpp-python")
    installed = {package: version for package in packages if (version := installed_version(package))}
    return {"SmolVLM Lens": __version__, "Python": platform.python_version(), **installed}


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return " ".join(value.split())
    if platform.system() == "Darwin":
        return _first_line(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.machine()
    return platform.processor() or platform.machine()


def _system_name() -> str:
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    if platform.system() == "Linux":
        with contextlib.suppress(OSError):
            return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return f"{platform.system()} {platform.release()}"


def _gpu_with_driver() -> str:
    name, memory = _gpu()
    if not memory or platform.system() == "Darwin":
        return name
    driver = _first_line(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
    return f"{name}, {describe_bytes(memory)}{f', driver {driver}' if driver else ''}"


def _first_line(command: list[str]) -> str:
    """Of what a program prints; "" where it cannot be run."""
    try:
        printed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
        return printed.strip().splitlines()[0].strip()
    except (OSError, subprocess.SubprocessError, IndexError):
        return ""


def likely_device() -> str:
    """ "cuda", "mps" or "cpu": what a model will run on. `models.load.best_device` knows for sure, but imports torch."""
    machine = this_machine()
    if not machine.gpu_memory_bytes:
        return "cpu"
    return "mps" if platform.system() == "Darwin" else "cuda"


def _gpu() -> tuple[str, int]:
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "Apple silicon", int(
            psutil.virtual_memory().total * 0.7
        )  # unified memory, of which macOS lets the GPU use about this share
    if shutil.which("nvidia-smi") is None or version("torch").endswith("+cpu"):
        return "", 0
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
        name, mebibytes = answer.strip().splitlines()[0].rsplit(",", 1)
        return name.strip(), int(mebibytes) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return "", 0


def hub_reachable(timeout_seconds: float = 2.0) -> bool:
    """Whether the model hub (or the mirror named by HF_ENDPOINT) takes connections."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return False
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    address = urlparse(getproxies().get(urlparse(endpoint).scheme, endpoint))
    port = address.port or (80 if address.scheme == "http" else 443)
    answered = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((address.hostname or "huggingface.co", port), timeout_seconds).close()
        except OSError:
            return
        answered.set()

    # In a thread: a name lookup has no time limit and can hang without a network.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(timeout_seconds)
    return answered.is_set()
