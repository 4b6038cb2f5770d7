"""What there is for a run here: processors and memory of the machine, or of the cgroup that holds us, and devices.

Knows nothing of what a workflow asks for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

from wfctl.cage import own_folder

_DEVICE = re.compile(r"\d+|(?:GPU|MIG)-[\w./:-]+")


def cpu() -> int:
    """Thousandths of processors for this process: those that it may run on, or its cgroup's quota if that is less."""
    quotas = [*_quotas_v2(), *_quotas_v1()]
    return max(1, min([1000 * len(os.sched_getaffinity(0)), *quotas]))


def memory() -> int:
    """Bytes of memory that this process may use: the machine's, or the limit of its cgroup if that is less."""
    limits = [int(text) for text in _above(own_folder(), "memory.max") if text != "max"]
    for text in _above(own_folder("memory"), "memory.limit_in_bytes"):
        limits.append(int(text))  # without a limit it is more than any machine has
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *limits])


def devices(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """The devices that CUDA_VISIBLE_DEVICES names, numbers or UUIDs; None where it does not say.

    As CUDA reads it: what is no device ends the list.
    """
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return None
    found: dict[str, None] = {}
    for word in listed.split(","):
        if not _DEVICE.fullmatch(word.strip()):
            break
        found[word.strip()] = None
    return tuple(found)


def _quotas_v2() -> Iterator[int]:
    for text in _above(own_folder(), "cpu.max"):
        quota, period = text.split()
        if quota != "max":
            yield int(quota) * 1000 // int(period)


def _quotas_v1() -> Iterator[int]:
    folder = own_folder("cpu")
    for quota, period in zip(_above(folder, "cpu.cfs_quota_us"), _above(folder, "cpu.cfs_period_us"), strict=False):
        if int(quota) > 0:
            yield int(quota) * 1000 // int(period)


def _above(folder: str | None, name: str) -> Iterator[str]:
    """What a file says in a cgroup and in all that hold it: the tightest counts."""
    while folder is not None and os.path.exists(f"{folder}/cgroup.procs"):
        try:
            with open(f"{folder}/{name}", encoding="ascii") as file:
                yield file.read().strip()
        except OSError:  # the outermost of v2 has no limits, and others have none where the controller is off
            pass
        folder = os.path.dirname(folder)
