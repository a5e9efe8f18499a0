"""What is kept of requests and answers: by which rules, for how long, and what labels come later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from nbship.config import Monitor, Pipeline, load_pipeline
from nbship.errors import UsageError
from nbship.monitoring import labels, pruning
from nbship.monitoring.collecting import CollectedModel, address
from nbship.monitoring.keeping import Keeping, require_columns
from nbship.monitoring.labels import AddedLabels, Key, read_file
from nbship.monitoring.log import OpenLog
from nbship.monitoring.pruning import Pruned
from nbship.monitoring.records import require_libraries
from nbship.package.schema import Column

# What the container of a model server is told by.
STORE, RULES = "NBSHIP_RECORDS_STORE", "NBSHIP_RECORDS_RULES"

# The Kubernetes secret with the keys of the store, and that of hashes; it may be absent.
SECRET = "nbship-records"  # noqa: S105
_RULES = ("private", "sample", "seconds")


@dataclass(frozen=True)
class KeptRelease:
    """What a release is told, so that its records are kept; see `cluster.manifest.Release`."""

    environment: tuple[tuple[str, str], ...] = ()
    secret: str = ""
    logger: str = ""


def open_log(name: str, monitor: Monitor, store: str) -> OpenLog:
    """Returns what opens the log of a model server.

    Args:
        name: The model.
        monitor: What the pipeline file says of it.
        store: Where records are kept.

    Raises:
        NbshipError: Columns are to be hashed and there is no key, or what writes Parquet is not installed.
    """
    require_libraries()
    return OpenLog(name, Keeping(store, monitor.private, monitor.sample), monitor.seconds)


def log_settings(monitor: Monitor) -> dict[str, str]:
    """Returns the variables by which a model server in a container keeps records; none if it is not to."""
    if monitor.store is None or monitor.collector is not None:
        return {}
    # Kubernetes would replace $(NAME) in a variable's value.
    rules = monitor.model_dump_json(include=set(_RULES)).replace("$", r"\u0024")
    return {STORE: monitor.store, RULES: rules}


def settings_of(pipeline: Pipeline, version: str, columns: Sequence[Column]) -> KeptRelease:
    """Returns how a version is told to keep records: by itself, or by KServe's logger.

    Raises:
        UsageError: A column that is to be left out or hashed is none of the model's.
    """
    monitor = pipeline.monitor
    if monitor.store is None:
        return KeptRelease()
    require_columns(monitor.private, columns)
    if monitor.collector is not None:
        model = CollectedModel(pipeline.name, version, tuple(sorted(monitor.private.items())), monitor.sample)
        return KeptRelease(logger=address(monitor.collector, model))
    return KeptRelease(environment=tuple(log_settings(monitor).items()), secret=SECRET)


def log_of(environment: Mapping[str, str], name: str) -> OpenLog | None:
    """Returns what opens the log of a model server that was given `log_settings`; None if it was not.

    Raises:
        NbshipError: See `open_log`.
        UsageError: The variables hold what `log_settings` does not write.
    """
    store = environment.get(STORE, "")
    if not store:
        return None
    try:
        monitor = Monitor.model_validate_json(environment.get(RULES, "{}"))
    except ValidationError as error:
        first = error.errors()[0]["msg"]
        raise UsageError(f"{RULES}: {first}", "deploy again: nbship deploy") from None
    return open_log(name, monitor, store)


def add_labels(
    root: Path, name: str, file: Path, store: str = "", arrived: datetime | None = None
) -> AddedLabels:
    """Adds the labels of a file to the records of a model.

    Args:
        root: The project's folder.
        name: The pipeline that made the model.
        file: CSV or Parquet.
        store: Of the records; the pipeline's `monitor.store` if empty.
        arrived: When the labels arrived that do not say so; now if None.

    Raises:
        UsageError: No store is named, or the file is not understood.
        NbshipError: The store cannot be read or written to.
    """
    pipeline = load_pipeline(root, name)
    column = pipeline.monitor.label.key or ""
    key = Key(column, pipeline.monitor.private.get(column) == "hash")
    target = pipeline.publish.target if pipeline.publish else ""
    found, source = read_file(file, key, target)
    return labels.add_labels(_store(root, pipeline, store), name, found, key, source, arrived)


def prune(root: Path, name: str, store: str = "", keep: int | None = None, dry_run: bool = False) -> Pruned:
    """Removes records that are older than they are kept, and puts the small files of a day together.

    Args:
        root: The project's folder.
        name: The pipeline that made the model.
        store: See `add_labels`.
        keep: Days; the pipeline's `monitor.keep` if None.
        dry_run: Change nothing.

    Raises:
        UsageError: No store is named.
        NbshipError: The store cannot be read or written to.
    """
    pipeline = load_pipeline(root, name)
    days = pipeline.monitor.keep if keep is None else keep
    return pruning.prune(_store(root, pipeline, store), name, days, dry_run)


def _store(root: Path, pipeline: Pipeline, store: str) -> str:
    """Returns where records are kept; a folder is that of the project, wherever the command is typed."""
    if store:
        return store
    if pipeline.monitor.store is None:
        raise UsageError(
            f"pipelines/{pipeline.name}.yaml does not say where records are kept",
            "add monitor: {store: …}, or give --store",
        )
    address = pipeline.monitor.store
    return address if "://" in address else str(root / address)
