"""How many CPUs a step may use, and the variables by which libraries that start threads are told.

Libraries start a thread for each CPU of the machine, whatever a container may use of it and whoever else is
at work; where threads wait for each other, that is many times slower than one thread. Not for what a pod asks
for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

# OpenBLAS, MKL, BLIS and numexpr go by the first where theirs is not set. Theirs are left to joblib, which
# sets them for its worker processes.
_THREADS = ("OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# The first is what joblib makes of `n_jobs=-1`. The others start threads for what is written to run in
# parallel, and a notebook that sets their number itself cannot go above this.
_WORKERS = ("LOKY_MAX_CPU_COUNT", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")


def available_cpus(root: Path = Path("/")) -> int:
    """Returns how many CPUs this process may use: by its affinity, and by its control groups' quota.

    A quota of 2.5 CPUs counts as 2, for one thread too many makes all of them wait.

    Args:
        root: Where `proc` and `sys` are.
    """
    return max(1, int(min([_affinity(), *_quotas(root)])))


def limits(threads: int, workers: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that keep a step to its share, but for those that a person has set.

    Where the share is all that the libraries find on their own, there is nothing to tell them.

    Args:
        threads: How many threads a library may start unasked.
        workers: How many a notebook may have that asks for as many as there are CPUs.
        environment: The variables that are set.
    """
    share = dict.fromkeys(_THREADS, threads) | dict.fromkeys(_WORKERS, workers)
    told = {name: str(number) for name, number in share.items() if number < _affinity()}
    return {name: number for name, number in told.items() if name not in environment}


def share(jobs: int, upstream: Mapping[str, Iterable[str]], environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that keep each step of a graph to its share; see `limits`.

    Threads that nobody asked for seldom make a step quicker and often slower, so there is one for each CPU
    that has no job of its own. A notebook that asks for as many workers as there are CPUs gets as many as the
    steps that can run beside it leave.

    Args:
        jobs: Steps at a time, at most.
        upstream: By step, those that must be done before.
        environment: The variables that are set.
    """
    cpus = available_cpus()
    return limits(max(1, cpus // jobs), max(1, cpus // min(jobs, _width(upstream))), environment)


def _width(upstream: Mapping[str, Iterable[str]]) -> int:
    """How many steps are ready at the same time at most, if all take as long."""
    sorter = TopologicalSorter(upstream)
    sorter.prepare()
    width = 1
    while sorter.is_active():
        ready = sorter.get_ready()
        width = max(width, len(ready))
        sorter.done(*ready)
    return width


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """The CPUs that each control group around this process allows, in both versions of control groups."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controllers
        # In a container the group may be known by a path of the host's, and then be the mount itself.
        group = mount / path.lstrip("/")
        for folder in [group, *group.parents]:
            if folder.is_relative_to(mount):
                yield from _quota(folder)


def _quota(folder: Path) -> Iterator[float]:
    files = ("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    for names in files:
        match " ".join(_text(folder / name) for name in names).split():
            case [quota, period] if quota.isdigit() and period.isdigit() and int(period):  # not "max", not -1
                yield int(quota) / int(period)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
