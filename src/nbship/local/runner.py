"""Runs the steps of a graph: in order, in parallel where they are independent, and not at all where the cache knows.

Writes the run's folder. Judging the model and drawing the page are not its business.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from nbship.errors import NbshipError
from nbship.files import content_hash
from nbship.graph import CHAMPION, Graph, Reference, Step
from nbship.local import cache, forkserver
from nbship.local.execute import check_outputs, execute
from nbship.local.html import export_html
from nbship.local.imports import imported_modules
from nbship.local.record import Artifact, RunRecord, State, StepRecord, save

WARM_KERNEL = "nbship"
STANDARD_KERNEL = "python3"


@dataclass(frozen=True)
class Event:
    """Something that happened to a step: it changed its state, or began a cell."""

    step: str
    state: State
    cell: int = 0
    cells: int = 0
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        jobs: Steps at a time.
        kernel: Name of the kernel specification.
        forced: Steps that run although the cache knows them.
        on_event: Called from several threads, one at a time for each step.
    """

    jobs: int = 1
    kernel: str = WARM_KERNEL
    forced: frozenset[str] = frozenset()
    on_event: Callable[[Event], None] = lambda _: None


@dataclass
class _Run:
    """What the functions below share during one run."""

    root: Path
    folder: Path
    graph: Graph
    record: RunRecord
    options: Options
    lock: str
    data: dict[str, Artifact] = field(default_factory=dict)
    exports: list[Future[None]] = field(default_factory=list)
    kernels: set[int] = field(default_factory=set)
    stopped: bool = False
    failure: NbshipError | None = None


def run_graph(root: Path, graph: Graph, folder: Path, record: RunRecord, options: Options) -> None:
    """Runs every step of a graph and fills the record, which is saved after each step.

    When a step fails, what does not depend on it is still finished, and what does is skipped.

    Args:
        root: The project's folder.
        graph: What to run.
        folder: The run's folder.
        record: Receives a record for each step.
        options: How to run.

    Raises:
        NbshipError: A step failed; the first failure.
        KeyboardInterrupt: The run was interrupted; its kernels are ended.
    """
    run = _Run(root, folder, graph, record, options, cache.environment_hash(root))
    run.data = {name: _data_artifact(root, name, path) for name, path in graph.data.items()}
    record.steps = {step.name: _new_record(step) for step in graph.steps.values()}
    save(record, folder)
    with ThreadPoolExecutor(options.jobs) as workers, ThreadPoolExecutor(1) as exporter:
        try:
            _run_in_order(run, workers, exporter)
            for export in run.exports:
                export.result()
        except BaseException:
            # The workers must come to an end before the pools can: their notebooks lose their kernels.
            workers.shutdown(wait=False, cancel_futures=True)
            _stop_kernels(run)
            raise
        finally:
            save(record, folder)
    if run.failure:
        raise run.failure


def _run_in_order(run: _Run, workers: ThreadPoolExecutor, exporter: ThreadPoolExecutor) -> None:
    sorter = TopologicalSorter({name: step.upstream for name, step in run.graph.steps.items()})
    sorter.prepare()
    running: dict[Future[None], Step] = {}
    try:
        while sorter.is_active():
            for name in sorter.get_ready():
                step = run.graph.steps[name]
                if _must_skip(run, step):
                    _change(run, step.name, State.SKIPPED)
                    sorter.done(name)
                elif _served_from_cache(run, step):
                    sorter.done(name)
                else:
                    _start_kernels(run)
                    running[workers.submit(_execute, run, step, exporter)] = step
            if running:
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    sorter.done(_finish(run, running.pop(future), future))
    except KeyboardInterrupt:
        for step in running.values():
            _change(run, step.name, State.INTERRUPTED)
        raise


def _must_skip(run: _Run, step: Step) -> bool:
    return any(run.record.steps[name].state in (State.FAILED, State.SKIPPED) for name in step.upstream)


def _served_from_cache(run: _Run, step: Step) -> bool:
    """Fills the step's record, and takes its outputs from the cache if that is allowed and it has them."""
    record = run.record.steps[step.name]
    record.inputs = {name: _input(run, ref) for name, ref in step.inputs.items() if _is_artifact(step, name)}
    record.parameters = {
        **step.parameters,
        **{name: _result(run, ref) for name, ref in step.inputs.items() if not _is_artifact(step, name)},
    }
    record.code = cache.code_hash(step)
    hashes = {name: artifact.hash for name, artifact in record.inputs.items()}
    record.key = cache.step_key(step, hashes, record.parameters, run.lock)
    if step.name in run.options.forced or not step.settings.cache:
        return False
    entry = cache.look_up(run.root, record.key)
    if entry is None:
        return False
    own = _in_folder_of(step.name, entry)
    cache.restore(run.root, own, run.folder)
    _fill(record, step, own)
    _change(run, step.name, State.CACHED, seconds=entry.seconds)
    return True


def _execute(run: _Run, step: Step, exporter: ThreadPoolExecutor) -> None:
    """Runs a step in a worker thread; its HTML and its cache entry follow in another, beside the next steps."""
    record = run.record.steps[step.name]
    started = time.perf_counter()
    paths = {name: run.folder / path for name, path in _output_paths(step).items()}
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    record.notebook = f"notebooks/{step.name}.ipynb"
    record.html = f"notebooks/{step.name}.html"

    def on_cell(cell: int, cells: int) -> None:
        record.cells = cells
        elapsed = time.perf_counter() - started
        run.options.on_event(Event(step.name, State.RUNNING, cell, cells, elapsed))

    _change(run, step.name, State.RUNNING)
    try:
        results = execute(
            step.notebook,
            {
                **record.parameters,
                **_input_paths(run, record),
                **{n: str(p.absolute()) for n, p in paths.items()},
            },
            run.folder / record.notebook,
            kernel=run.options.kernel,
            folder=step.notebook.path.parent,
            timeout=step.settings.timeout,
            on_cell=on_cell,
            on_start=lambda process: _kernel_started(run, process),
        )
        metrics = check_outputs(step.notebook, paths)
    finally:
        record.seconds = round(time.perf_counter() - started, 3)
        run.exports.append(exporter.submit(_export, run, record))
    outputs = {
        name: cache.Stored(hash=content_hash(path), path=path.relative_to(run.folder).as_posix())
        for name, path in paths.items()
    }
    entry = cache.Entry(
        outputs=outputs,
        notebook=cache.Stored(hash="", path=record.notebook),
        html=cache.Stored(hash="", path=record.html),
        metrics=metrics,
        results=results,
        cells=record.cells,
        seconds=record.seconds,
    )
    _fill(record, step, entry)
    run.exports.append(exporter.submit(_keep, run, record.key, entry))


def _export(run: _Run, record: StepRecord) -> None:
    executed = run.folder / record.notebook
    if executed.exists():
        export_html(executed, run.folder / record.html)


def _keep(run: _Run, key: str, entry: cache.Entry) -> None:
    """Stores a step whose notebook and HTML are now final."""
    hashed = {
        kind: stored.model_copy(update={"hash": content_hash(run.folder / stored.path)})
        for kind, stored in (("notebook", entry.notebook), ("html", entry.html))
    }
    cache.store(run.root, key, entry.model_copy(update=hashed), run.folder)


def _finish(run: _Run, step: Step, future: Future[None]) -> str:
    record = run.record.steps[step.name]
    try:
        future.result()
        _change(run, step.name, State.DONE, seconds=record.seconds)
    except NbshipError as error:
        error.message = f"step '{step.name}': {error.message}"
        run.failure = run.failure or error
        record.error = "\n".join(filter(None, [error.message, error.details]))
        _change(run, step.name, State.FAILED, seconds=record.seconds, error=error.message)
    save(run.record, run.folder)
    return step.name


def _start_kernels(run: _Run) -> None:
    """Preloads what the notebooks of the graph import, as soon as it is known that one must run."""
    if run.options.kernel == WARM_KERNEL:
        code = [source for step in run.graph.steps.values() for source in step.notebook.code]
        forkserver.start(imported_modules(code))


def _kernel_started(run: _Run, process: int) -> None:
    run.kernels.add(process)
    if run.stopped:
        _stop_kernels(run)


def _stop_kernels(run: _Run) -> None:
    """Kills every kernel with all that it started; each leads a process group of its own."""
    run.stopped = True
    for process in list(run.kernels):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process, signal.SIGKILL)
    forkserver.stop()


def _change(run: _Run, name: str, state: State, seconds: float = 0.0, error: str = "") -> None:
    record = run.record.steps[name]
    record.state = state
    run.options.on_event(Event(name, state, record.cells, record.cells, seconds, error))


def _new_record(step: Step) -> StepRecord:
    return StepRecord(
        name=step.name,
        source=step.settings.notebook,
        title=step.notebook.title,
        upstream=list(step.upstream),
        parameters=dict(step.parameters),
    )


def _fill(record: StepRecord, step: Step, entry: cache.Entry) -> None:
    types = step.notebook.signature.outputs
    record.outputs = {
        name: Artifact(
            type=types[name].type, path=stored.path, hash=stored.hash, origin=f"{step.name}.{name}"
        )
        for name, stored in entry.outputs.items()
    }
    record.notebook, record.html = entry.notebook.path, entry.html.path
    record.metrics, record.results = entry.metrics, entry.results
    record.cells, record.seconds = entry.cells, entry.seconds


def _in_folder_of(name: str, entry: cache.Entry) -> cache.Entry:
    """An entry is found by content, whichever step made it; its files go where this step's would."""
    outputs = {
        key: cache.Stored(hash=stored.hash, path=f"artifacts/{name}/{Path(stored.path).name}")
        for key, stored in entry.outputs.items()
    }
    notebook = cache.Stored(hash=entry.notebook.hash, path=f"notebooks/{name}.ipynb")
    html = cache.Stored(hash=entry.html.hash, path=f"notebooks/{name}.html")
    return entry.model_copy(update={"outputs": outputs, "notebook": notebook, "html": html})


def _output_paths(step: Step) -> Mapping[str, str]:
    """Each output keeps the file name that the notebook gives it, unless two outputs have the same."""
    names = {name: Path(v.default).name or name for name, v in step.notebook.signature.outputs.items()}
    files = list(names.values())
    return {
        name: f"artifacts/{step.name}/{file if files.count(file) == 1 else f'{name}-{file}'}"
        for name, file in names.items()
    }


def _is_artifact(step: Step, name: str) -> bool:
    return name in step.notebook.signature.inputs


def _data_artifact(root: Path, name: str, path: str) -> Artifact:
    kind = "Model" if name == CHAMPION else "Dataset"
    return Artifact(type=kind, path=path, hash=content_hash(root / path), origin=name)


def _input(run: _Run, reference: Reference) -> Artifact:
    if reference.step is None:
        return run.data[reference.name]
    return run.record.steps[reference.step].outputs[reference.name]


def _result(run: _Run, reference: Reference) -> Any:
    assert reference.step is not None
    return run.record.steps[reference.step].results[reference.name]


def _input_paths(run: _Run, record: StepRecord) -> dict[str, str]:
    bases = {name: run.root if a.origin in run.data else run.folder for name, a in record.inputs.items()}
    return {name: str((bases[name] / artifact.path).absolute()) for name, artifact in record.inputs.items()}
