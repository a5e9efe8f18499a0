"""Runs the steps of a graph: in order, independent ones in parallel, and none that the cache knows.

Writes the run's folder. Judging the model and drawing the page are not its business.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from nbship.errors import NbshipError
from nbship.files import content_hash
from nbship.graph import CHAMPION, Graph, Reference, Step
from nbship.kernels import forkserver
from nbship.local import bytecode, cache
from nbship.local.artifacts import Contents, Input, check_outputs, file_names, unaltered
from nbship.local.events import Event as Event
from nbship.local.execute import StepError, execute, explained
from nbship.local.html import export_html
from nbship.local.imports import libraries_of
from nbship.own_code import step_code
from nbship.record import Artifact, RunRecord, State, StepFiles, StepRecord, save
from nbship.threads import share

if TYPE_CHECKING:
    from nbship.kernels.provisioner import Kernel

WARM_KERNEL = forkserver.KERNEL_NAME
STANDARD_KERNEL = "python3"
_SECONDS_BETWEEN_KILLS = 0.05
_LONGEST_COMMAND = 80


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        jobs: Steps that run at the same time.
        kernel: Name of the kernel specification.
        forced: Steps that run although the cache knows them.
        expected: Seconds that steps took before, by name.
        on_event: Called from several threads, one at a time for each step.
    """

    jobs: int = 1
    kernel: str = WARM_KERNEL if forkserver.AVAILABLE else forkserver.STANDARD_KERNEL
    forced: frozenset[str] = frozenset()
    expected: Mapping[str, float] = field(default_factory=dict)
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
    # Environment variables that keep a step to its share of the CPUs.
    variables: Mapping[str, str]
    exporter: ThreadPoolExecutor
    data: dict[str, Artifact] = field(default_factory=dict)
    # What each step uses of the project's own code, as its key has it.
    own_files: dict[str, Iterable[Path]] = field(default_factory=dict)
    contents: Contents = field(default_factory=Contents)
    running: dict[Future[None], str] = field(default_factory=dict)
    exports: dict[str, Future[None]] = field(default_factory=dict)
    # Unlike `concurrent.futures.wait`, a queue can be interrupted without leaving a lock locked.
    ended: SimpleQueue[Future[None]] = field(default_factory=SimpleQueue)
    kernels: dict[str, Kernel] = field(default_factory=dict)
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
    record.steps = {step.name: _new_record(step) for step in graph.steps.values()}
    save(record, folder)
    for name, step in record.steps.items():
        expected = options.expected.get(name, 0.0)
        options.on_event(Event(name, State.WAITING, expected=expected, upstream=tuple(step.upstream)))
    # The workers end before the exporter does, which still gets their work.
    with ThreadPoolExecutor(1) as exporter, ThreadPoolExecutor(options.jobs) as workers:
        variables = share(options.jobs, {s.name: s.upstream for s in graph.steps.values()}, os.environ)
        lock = cache.environment_hash(root)
        run = _Run(root, folder, graph, record, options, lock, variables, exporter)
        try:
            run.data.update({name: _data_artifact(run, name, path) for name, path in graph.data.items()})
            _run_in_order(run, workers)
            for name, export in run.exports.items():
                _settle(run, name, export)
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            _stop(run)
            for step in record.steps.values():
                if step.state is State.RUNNING:
                    _change(run, step.name, State.INTERRUPTED)
            raise
    if run.failure:
        raise run.failure


def _run_in_order(run: _Run, workers: ThreadPoolExecutor) -> None:
    sorter = TopologicalSorter({name: step.upstream for name, step in run.graph.steps.items()})
    sorter.prepare()
    while sorter.is_active():
        to_run: list[Step] = []
        for name in sorter.get_ready():
            if _settled_without_running(run, run.graph.steps[name]):
                sorter.done(name)
            else:
                to_run.append(run.graph.steps[name])
        if to_run:
            # Imports take a second or two, and of all threads an interruption ends only this one's.
            _start_fork_server(run, to_run)
            import_module("papermill")
        for step in to_run:
            future = workers.submit(_execute, run, step)
            run.running[future] = step.name
            future.add_done_callback(run.ended.put)
        if run.running:
            done = run.ended.get()
            name = run.running.pop(done)
            _settle(run, name, done)
            sorter.done(name)


def _settled_without_running(run: _Run, step: Step) -> bool:
    if any(run.record.steps[name].state in (State.FAILED, State.SKIPPED) for name in step.upstream):
        _change(run, step.name, State.SKIPPED)
        return True
    try:
        return _served_from_cache(run, step)
    except Exception as error:
        _fail(run, step.name, error)
        return True


def _settle(run: _Run, name: str, future: Future[None]) -> None:
    """Notes how something that was done for a step has ended."""
    try:
        future.result()
    except Exception as error:
        _fail(run, name, error)
    save(run.record, run.folder)


def _fail(run: _Run, name: str, error: Exception) -> None:
    cause = explained(error, run.folder)
    failure = StepError(f"step '{name}': {cause.message}", cause.hint, cause.details)
    failure.__cause__ = error
    run.failure = run.failure or failure
    run.record.steps[name].error = "\n".join(filter(None, [failure.message, failure.details]))
    _change(run, name, State.FAILED, error=failure.message)


def _served_from_cache(run: _Run, step: Step) -> bool:
    """Fills the step's record, and takes its outputs from the cache if that is allowed and it has them."""
    record = run.record.steps[step.name]
    record.inputs = {name: _input(run, ref) for name, ref in step.inputs.items() if _is_artifact(step, name)}
    record.parameters = {
        **step.parameters,
        **{name: _result(run, ref) for name, ref in step.inputs.items() if not _is_artifact(step, name)},
    }
    run.own_files[step.name] = step_code(run.root, run.graph, step).files
    record.code = cache.code_hash(run.root, step, run.own_files[step.name])
    paths = {**{name: artifact.path for name, artifact in record.inputs.items()}, **_output_paths(step)}
    record.key = cache.step_key(
        step,
        code=record.code,
        inputs={name: artifact.hash for name, artifact in record.inputs.items()},
        values=record.parameters,
        names={name: Path(path).name for name, path in paths.items()},
        lock=run.lock,
    )
    if step.name in run.options.forced or not step.settings.cache:
        return False
    entry = cache.look_up(run.root, record.key)
    if entry is None:
        return False
    own = cache.for_step(entry, step.name)
    cache.restore(run.root, own, run.folder)
    _fill(record, step, own)
    _change(run, step.name, State.CACHED)
    return True


def _execute(run: _Run, step: Step) -> None:
    """Runs a step; its HTML and its cache entry follow in another thread, beside the next steps."""
    record = run.record.steps[step.name]
    started = time.perf_counter()
    paths = {name: run.folder / path for name, path in _output_paths(step).items()}
    record.notebook = StepFiles(step.name).notebook

    now = Event(step.name, State.RUNNING)

    def tell(**news: Any) -> None:
        nonlocal now
        now = replace(now, seconds=time.perf_counter() - started, **news)
        run.options.on_event(now)

    def on_cell(cell: int, cells: int) -> None:
        record.cells = cells
        tell(cell=cell, cells=cells, line="")

    _change(run, step.name, State.RUNNING)
    entry = None
    try:
        for path in paths.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        bytecode.discard_stale(run.own_files[step.name])
        inputs = _inputs(run, record)
        values = {
            **record.parameters,
            **{name: str(each.path) for name, each in inputs.items()},
            **{name: str(path.absolute()) for name, path in paths.items()},
        }
        with unaltered(step.notebook, inputs, run.contents):
            results = execute(
                step.notebook,
                values,
                run.folder / record.notebook,
                kernel=run.options.kernel,
                folder=step.notebook.path.parent,
                project=run.root,
                variables=run.variables,
                timeout=step.settings.timeout,
                on_cell=on_cell,
                on_line=lambda line: tell(line=line),
                on_start=lambda kernel: _kernel_started(run, step.name, kernel),
            )
            metrics = check_outputs(step.notebook, paths)
        record.seconds = round(time.perf_counter() - started, 3)
        entry = _entry(run, record, paths, metrics, results)
        _fill(record, step, entry)
    finally:
        record.seconds = round(time.perf_counter() - started, 3)
        record.note = _note(run.kernels.get(step.name))
        if not run.stopped:
            run.exports[step.name] = run.exporter.submit(_export, run, step, entry)
    _change(run, step.name, State.DONE)


def _entry(
    run: _Run,
    record: StepRecord,
    paths: Mapping[str, Path],
    metrics: Mapping[str, Any],
    results: Mapping[str, Any],
) -> cache.Entry:
    """What a step made; the hashes of its notebook and its HTML come when those are final."""
    outputs = {
        name: cache.Stored(hash=run.contents.hash(path), path=path.relative_to(run.folder).as_posix())
        for name, path in paths.items()
    }
    return cache.Entry(
        outputs=outputs,
        notebook=cache.Stored(hash="", path=record.notebook),
        html=cache.Stored(hash="", path=StepFiles(record.name).html),
        metrics=dict(metrics),
        results=dict(results),
        cells=record.cells,
        seconds=record.seconds,
    )


def _export(run: _Run, step: Step, entry: cache.Entry | None) -> None:
    """Writes a step's HTML, and keeps the step if it ran to its end on the code that its key names."""
    record = run.record.steps[step.name]
    executed = run.folder / record.notebook
    html = run.folder / StepFiles(step.name).html
    if executed.exists():
        record.html = StepFiles(step.name).html
        export_html(executed, html)
    now = step_code(run.root, run.graph, step).files if entry is not None else ()
    if entry is not None and cache.code_hash(run.root, step, now) == record.code:
        final = {
            "notebook": cache.Stored(hash=content_hash(executed), path=record.notebook),
            "html": cache.Stored(hash=content_hash(html), path=record.html),
        }
        cache.store(run.root, record.key, entry.model_copy(update=final), run.folder)


def _start_fork_server(run: _Run, first: Iterable[Step]) -> None:
    """Starts it with what all notebooks import; the first steps need not wait for what only later ones do."""
    if run.options.kernel != WARM_KERNEL:
        return
    now = list(first)[: run.options.jobs]
    everything = libraries_of(run.root, (step.notebook for step in run.graph.steps.values()))
    soon = libraries_of(run.root, (step.notebook for step in now))
    forkserver.start(everything, first=soon, kernels=len(now), environment=run.variables)


def _kernel_started(run: _Run, step: str, kernel: Kernel) -> None:
    run.kernels[step] = kernel
    if run.stopped:
        _kill_kernels(run)


def _note(kernel: Kernel | None) -> str:
    """Says what outlived a step's kernel."""
    left = [command[:_LONGEST_COMMAND] for command in kernel.left] if kernel else []
    return f"left running, and ended with the step: {'; '.join(left)}" if left else ""


def _stop(run: _Run) -> None:
    """Ends what runs. A notebook ends by losing its kernel, which it may be about to start."""
    run.stopped = True
    while not all(future.done() for future in run.running):
        _kill_kernels(run)
        time.sleep(_SECONDS_BETWEEN_KILLS)


def _kill_kernels(run: _Run) -> None:
    """Kills every kernel with all that it started; each leads a process group of its own."""
    for kernel in list(run.kernels.values()):
        kernel.kill()
    forkserver.stop()


def _change(run: _Run, name: str, state: State, error: str = "") -> None:
    record = run.record.steps[name]
    record.state = state
    run.options.on_event(Event(name, state, record.cells, record.cells, record.seconds, error))


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


def _output_paths(step: Step) -> Mapping[str, str]:
    return {name: StepFiles(step.name).artifact(file) for name, file in file_names(step.notebook).items()}


def _is_artifact(step: Step, name: str) -> bool:
    return name in step.notebook.signature.inputs


def _data_artifact(run: _Run, name: str, path: str) -> Artifact:
    kind = "Model" if name == CHAMPION else "Dataset"
    return Artifact(type=kind, path=path, hash=run.contents.hash(run.root / path), origin=name)


def _input(run: _Run, reference: Reference) -> Artifact:
    if reference.step is None:
        return run.data[reference.name]
    return run.record.steps[reference.step].outputs[reference.name]


def _result(run: _Run, reference: Reference) -> Any:
    return run.record.steps[str(reference.step)].results[reference.name]


def _inputs(run: _Run, record: StepRecord) -> dict[str, Input]:
    """A step's inputs; `place` and `remedy` are for one that it writes to."""
    inputs = {}
    for name, artifact in record.inputs.items():
        base, remedy = run.folder, "run again"
        if artifact.origin in run.data:
            base = run.root
            tracked = (run.root / f"{artifact.path}.dvc").is_file()
            remedy = f"get it back: dvc checkout --force {artifact.path}" if tracked else "put it back"
        inputs[name] = Input((base / artifact.path).absolute(), artifact.hash, artifact.path, remedy)
    return inputs
