"""What is kept of requests and answers: by which rules, for how long, and what labels come later."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from nbship.config import Monitor
from nbship.errors import UsageError
from nbship.monitoring.keeping import Keeping
from nbship.monitoring.log import OpenLog
from nbship.monitoring.records import require_libraries

# What the container of a model server is told by.
STORE, RULES = "NBSHIP_RECORDS_STORE", "NBSHIP_RECORDS_RULES"

_RULES = ("private", "sample", "seconds")


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
