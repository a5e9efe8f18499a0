"""Collects what KServe's logger tells of requests and answers, read as the model server reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nbship.errors import NbshipError
from nbship.monitoring.records import require_libraries
from nbship.package import Package
from nbship.package.accepted import applied
from nbship.package.prediction import Prediction
from nbship.package.records import CheckedValues, check
from nbship.package.schema import Output

_RECORDS_AT_MOST = 100_000


def collect(
    store: str, models: str, host: str, port: int, seconds: float, ready: Callable[[str], None]
) -> None:
    """Collects until a signal ends it; what was taken is written then.

    Args:
        store: Where records are kept.
        models: The model store, which says what each version takes and gives.
        host: The address to listen on.
        port: The port to listen on.
        seconds: Between two files of a model.
        ready: Called with the address when it is about to listen.

    Raises:
        NbshipError: A store cannot be opened, the port is taken, or libraries are missing.
    """
    require_libraries()
    try:
        import uvicorn

        from nbship.monitoring.collect import application, counter
        from nbship.monitoring.collecting import Collector
        from nbship.serving import listening
    except ImportError as error:
        raise NbshipError(f"collecting needs {error.name}", "pip install 'nbship[monitor,serve]'") from None
    listening.configure_log()
    collector = Collector(store, models, read_pair, counter(), seconds)
    config = uvicorn.Config(
        application(collector), log_config=None, access_log=False, timeout_graceful_shutdown=listening.GRACE
    )
    with listening.bind(host, port) as listener:
        ready(f"http://{host}:{listener.getsockname()[1]}")
        uvicorn.Server(config).run([listener])


def read_pair(package: Package, request: bytes, answer: bytes) -> tuple[CheckedValues, Prediction] | None:
    """Reads the bodies of a request and of its answer; None if they are no prediction in JSON."""
    from nbship.serving import protocol
    from nbship.serving.errors import RequestError

    columns = applied(package.inputs)
    try:
        content, made = protocol.parse_json(request), protocol.parse_json(answer)
        if "predictions" in made:
            values = protocol.parse_v1(columns, content, _RECORDS_AT_MOST)
            prediction = _of_v1(made)
        elif "outputs" in made:
            values = protocol.parse_v2(columns, content, _RECORDS_AT_MOST)
            prediction = _of_v2(made, values.rows)
        else:
            return None
    except (RequestError, TypeError, ValueError, KeyError, AttributeError):
        return None
    checked = check(columns, values.columns, values.rows)
    if checked.errors.counts or not _fits(prediction, checked.rows, package.output):
        return None
    if package.output.interval and not prediction.intervals:  # rows are answered without
        prediction.intervals.extend(map(package.output.interval.around, prediction.values))
    return checked, prediction


def _of_v1(made: Mapping[str, Any]) -> Prediction:
    shares = [list(each.values()) for each in made.get("probabilities") or ()]
    return Prediction(
        list(made["predictions"]),
        [list(each) for each in zip(*shares, strict=True)],
        [list(each) for each in made.get("intervals") or ()],
    )


def _of_v2(made: Mapping[str, Any], rows: int) -> Prediction:
    data = {each["name"]: list(each["data"]) for each in made["outputs"]}
    shares, ends = data.get("predict_proba", []), data.get("interval", [])
    count = len(shares) // rows
    return Prediction(
        data["predict"],
        [shares[at::count] for at in range(count)],
        [ends[at : at + 2] for at in range(0, len(ends), 2)],
    )


def _fits(prediction: Prediction, rows: int, output: Output) -> bool:
    """Returns whether an answer is of a request and a model: anybody in the cluster may send events."""
    shares, kinds = prediction.probabilities, set(map(type, prediction.values))
    right = {float, int} if output.kind == "regression" else {type(each) for each in output.classes}
    return (
        len(prediction.values) == rows
        and kinds <= right
        and len(shares) in (0, len(output.classes))
        and all(len(each) == rows for each in shares)
        and len(prediction.intervals) in (0, rows)
        and all(len(each) == 2 for each in prediction.intervals)
        and all(isinstance(e, int | float) for each in (*shares, *prediction.intervals) for e in each)
    )
