"""The check of an endpoint: the package's golden records, whose answers must have the right values in time.

Knows the answers, not the way to the server: that is a function that it is given.
"""

from __future__ import annotations

import itertools
import json
import math
import secrets
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nbship.config import Deploy
from nbship.errors import NbshipError
from nbship.package import Golden, Package

# What a check's requests are called by, so that whoever keeps records leaves them out: KServe's logger takes
# it for the event's identifier.
EVENT, CHECK = "ce-id", "nbship-check-"
_SHOWN = 200
_UNREACHABLE = (0, 404, 502, 503, 504)


@dataclass(frozen=True)
class ServerAnswer:
    """What a server said.

    Attributes:
        status: Of HTTP; 0 if there was no answer.
        body: The answer, or what went wrong.
        seconds: How long it took.
    """

    status: int
    body: bytes
    seconds: float


Ask = Callable[[dict[str, Any]], ServerAnswer]


@dataclass(frozen=True)
class CheckPassed:
    """What a check that was passed has measured.

    Attributes:
        requests: How many were made.
        failed: How many had no right answer.
        latency: Median seconds of an answer.
    """

    requests: int
    failed: int
    latency: float


class CheckError(NbshipError):
    """A server does not answer as the model's package says."""


class UnreachableError(CheckError):
    """No server answers at this address, or none yet."""


def unkept() -> dict[str, str]:
    """Returns the headers of a request that no record is to be kept of."""
    return {EVENT: CHECK + secrets.token_hex(8)}


def check(ask: Ask, package: Package, settings: Deploy, values: bool = True) -> CheckPassed:
    """Asks a server for each golden record in turn.

    Args:
        ask: Sends the body of a V1 prediction.
        package: Of the model that should answer.
        settings: How many requests, and what is tolerated.
        values: Compare values; not where two versions share the traffic.

    Raises:
        UnreachableError: The first request met no server.
        CheckError: A value is wrong, or too many requests failed or took too long.
    """
    if not package.golden:
        raise NbshipError("the model's package has no golden records", "publish the model again")
    failures, seconds = [], []
    count = max(settings.requests, len(package.golden))
    for golden in itertools.islice(itertools.cycle(package.golden), count):
        answer = ask({"instances": [golden.record]})
        seconds.append(answer.seconds)
        problem = _problem(answer)
        if problem and not seconds[1:] and answer.status in _UNREACHABLE:
            raise UnreachableError(f"the server cannot be reached: {problem}", "look at the server's log")
        if problem:
            failures.append(problem)
            if len(failures) > settings.errors * count:
                break
        elif values:
            _compare(answer, golden, settings.tolerance)
    if len(failures) > settings.errors * count:
        raise CheckError(
            f"{len(failures)} of {len(seconds)} requests failed: {failures[-1]}", "look at the server's log"
        )
    latency = statistics.median(seconds)
    if latency > settings.latency:
        raise CheckError(
            f"the median answer took {latency:.3f} s, more than {settings.latency:g} s",
            "give the server more CPU, or raise deploy.latency",
        )
    return CheckPassed(len(seconds), len(failures), latency)


def _problem(answer: ServerAnswer) -> str:
    """Says what is wrong with an answer besides its values."""
    if answer.status != 200:
        said = " ".join(answer.body.decode(errors="replace").split())[:_SHOWN]
        return f"HTTP status {answer.status}: {said}" if answer.status else said
    predictions = _predictions(answer)
    if not isinstance(predictions, list) or len(predictions) != 1:
        return f"not a prediction: {answer.body[:_SHOWN].decode(errors='replace')}"
    return ""


def _predictions(answer: ServerAnswer) -> Any:
    try:
        body = json.loads(answer.body)
    except ValueError:
        return None
    return body.get("predictions") if isinstance(body, dict) else None


def _compare(answer: ServerAnswer, golden: Golden, tolerance: float) -> None:
    body = json.loads(answer.body)
    given = body["predictions"][0]
    if not _same_value(given, golden.prediction, tolerance):
        raise _wrong_prediction(golden, f"{given!r} instead of {golden.prediction!r}")
    shares = body.get("probabilities")
    if golden.probabilities and shares is not None:
        found = list(shares[0].values()) if _is_shares(shares) else shares
        if not _same_value(found, golden.probabilities, tolerance):
            raise _wrong_prediction(golden, f"probabilities {found} instead of {golden.probabilities}")


def _wrong_prediction(golden: Golden, what: str) -> CheckError:
    return CheckError(
        f"a wrong prediction: {what} for {json.dumps(golden.record, ensure_ascii=False)[:_SHOWN]}",
        "the server serves another model, or with other libraries than the model was fitted with",
    )


def _is_shares(shares: Any) -> bool:
    return isinstance(shares, list) and len(shares) == 1 and isinstance(shares[0], dict)


def _same_value(given: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, list):
        return (
            isinstance(given, Sequence)
            and len(given) == len(expected)
            and all(_same_value(g, e, tolerance) for g, e in zip(given, expected, strict=True))
        )
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in (given, expected)]
    if all(numbers):
        return math.isclose(given, expected, rel_tol=tolerance, abs_tol=tolerance)
    return type(given) is type(expected) and bool(given == expected)
