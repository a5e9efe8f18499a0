"""The memory of the fork server, of a warm kernel and of an ordinary one. Linux only.

Run as a program in a project: prints JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psutil
from jupyter_client.manager import start_new_kernel

from benchmarks.results import Memory
from nbship.config import load_pipeline
from nbship.graph import read_graph
from nbship.kernels import forkserver
from nbship.local.imports import libraries

_SERVER = "nbship.kernels.forker"


def measure(root: Path, pipeline: str) -> list[Memory]:
    """Measures kernels that have imported what a pipeline's notebooks import.

    Args:
        root: The project's folder.
        pipeline: Name of the pipeline.
    """
    graph = read_graph(root, load_pipeline(root, pipeline))
    notebooks = [step.notebook for step in graph.steps.values()]
    code = [source for notebook in notebooks for source in notebook.code]
    imports = [source for source in code if source.startswith(("import ", "from "))]
    forkserver.start(libraries(code, {notebook.path.parent for notebook in notebooks}))
    found = []
    for kernel, name in (("nbship", "warm kernel"), ("python3", "ordinary kernel")):
        manager, client = start_new_kernel(kernel_name=kernel)
        try:
            for source in imports:
                client.execute_interactive(source)
            if kernel == "nbship":
                (server,) = (p for p in psutil.Process().children() if _SERVER in p.cmdline())
                found.append(_memory("fork server, with one kernel", server))
            found.append(_memory(f"{name}, libraries imported", psutil.Process(manager.provisioner.pid)))
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
    forkserver.stop()
    return found


def _memory(name: str, process: psutil.Process) -> Memory:
    info = process.memory_full_info()
    return Memory(name=name, resident=info.rss, proportional=info.pss, unique=info.uss)


if __name__ == "__main__":
    measured = measure(Path.cwd(), sys.argv[1])
    Path("memory.json").write_text(json.dumps([m.model_dump() for m in measured]), encoding="utf-8")
