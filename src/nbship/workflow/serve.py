"""Serves the champion, or a run's model, on this machine."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nbship import package
from nbship.config import Pipeline, load_pipeline
from nbship.errors import NbshipError, Report, UsageError
from nbship.package import Package
from nbship.record import State, find_run
from nbship.serving import server
from nbship.serving.settings import BYTES_AT_MOST, RECORDS_AT_MOST, ServerSettings
from nbship.versions import registry
from nbship.workflow.models import list_models
from nbship.workflow.publish import package_run
from nbship.workflow.records import open_log


@dataclass(frozen=True)
class Serving:
    """A model that is about to be served.

    Attributes:
        package: Its description.
        version: Its registered version; empty for a run's model, and for a champion that is not registered.
        address: Of the server.
    """

    package: Package
    version: str
    address: str


@dataclass(frozen=True)
class Limits:
    """What one request may have.

    Attributes:
        records: How many.
        bytes: In its body.
    """

    records: int = RECORDS_AT_MOST
    bytes: int = BYTES_AT_MOST


def serve(
    root: Path,
    name: str,
    run_id: str | None,
    host: str,
    port: int,
    workers: int,
    ready: Callable[[Serving], None],
    report: Report = lambda _: None,
    limits: Limits = Limits(),
    grpc_port: int = 0,
    log: str = "",
    corrections: bool = False,
) -> None:
    """Serves a model until a signal ends it.

    Args:
        root: The project's folder.
        name: The pipeline that made it.
        run_id: The run, or the beginning of its identifier, or empty for the newest; None for the champion.
        host: The address to listen on.
        port: The port to listen on; any free one if 0.
        workers: Worker processes.
        ready: Called when the model is loaded, just before the server starts to listen.
        report: Told in a line what is being waited for.
        limits: Of one request.
        grpc_port: The port for gRPC; none if 0.
        log: Where what is asked and answered is kept, as the pipeline's `monitor` says; nowhere if empty.

        corrections: Whether the page may tell what came true; needs `log`.

    Raises:
        UsageError: There are corrections, and no log.
        NbshipError: There is no such model, it cannot be loaded, or the port is taken.
    """
    if corrections and not log:
        raise UsageError("--corrections needs a place to keep them", "add --log FOLDER")
    pipeline = load_pipeline(root, name)
    port = port or server.free_port(host)
    with _folder(root, pipeline, run_id, report) as folder:
        version = "" if run_id is not None else _champion_version(root, name)

        grpc_address = server.grpc_address(host, grpc_port)
        settings = ServerSettings(
            name,
            folder,
            version,
            limits.records,
            limits.bytes,
            grpc_address=grpc_address,
            log=open_log(name, pipeline.monitor, log) if log else None,
            corrections=corrections,
        )

        def tell() -> None:
            shown = f"[{host}]" if ":" in host else host
            ready(Serving(package.read_package(folder), version, f"http://{shown}:{port}"))

        server.serve(settings, host, port, workers, tell)


@contextlib.contextmanager
def _folder(root: Path, pipeline: Pipeline, run_id: str | None, report: Report) -> Iterator[Path]:
    """Yields the folder of the champion's package, or a temporary one of a run's."""
    if run_id is None:
        if registry.champion(root, pipeline.name, report) is None:
            raise UsageError(
                f"{pipeline.name} has no champion yet",
                f"publish one: nbship publish {pipeline.name}; or serve a run's model: --run latest",
            )
        registry.compiled(root, pipeline.name, report)
        yield registry.model_folder(root, pipeline.name)
        return
    settings = pipeline.publish
    if settings is None:
        raise UsageError(f"pipelines/{pipeline.name}.yaml: has no publish", "add publish: {target: …}")
    record, folder = find_run(root, pipeline.name, run_id)
    if record.state is not State.DONE:
        raise NbshipError(
            f"run {record.id} is not finished: it is {record.state}", f"run it: nbship run {pipeline.name}"
        )
    report(f"packaging the model of run {record.id}")
    with tempfile.TemporaryDirectory(prefix="nbship-serve-") as temporary:
        package_run(Path(temporary), pipeline, settings, record, folder)
        yield Path(temporary)


def _champion_version(root: Path, name: str) -> str:
    with contextlib.suppress(NbshipError):  # without Git there are no versions
        return list_models(root, name)[0].champion
    return ""
