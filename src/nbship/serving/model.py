"""A model package that is served: loaded, described, and asked for predictions.

Answers bodies of requests with bodies of answers; how they travel is the business of `routes`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from nbship.package.prediction import Prediction
from nbship.package.records import CheckedValues, Problem, Values, check
from nbship.serving import metrics, protocol
from nbship.serving.errors import RequestError, problem_content
from nbship.serving.predictor import Predictor, load_predictor
from nbship.serving.settings import Log, ServerSettings

WARNINGS, RECORD = "nbship-warnings", "nbship-record"
_CORRECTION_BYTES = 2000
# A header that proxies let pass.
_HEADER_BYTES = 4000
_logger = logging.getLogger("nbship.serving")


@dataclass(frozen=True)
class Answer:
    """The answer to a request for predictions.

    Attributes:
        body: JSON.
        headers: Flagged values as JSON in ASCII, and the identifier under which the records are kept.
    """

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Predicted:
    """What came of values that were asked about.

    Attributes:
        prediction: What the model makes of them.
        headers: See `Answer`.
    """

    prediction: Prediction
    headers: Mapping[str, str]


class PackagedModel:
    """A model that was published by nbship; `load` it before it is asked.

    Args:
        settings: What is served and how.

    Attributes:
        name: In addresses.
        predictor: The model that is loaded.
        generation: That of `Settings.generation` when it was loaded.
        ready: Whether it is loaded.
        loading: Held while it is loaded again.
        log: Keeps what is asked and answered, if that is wished.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.name = settings.name
        self.settings = settings
        self.predictor: Predictor
        self.generation = -1
        self.ready = False
        self.loading = asyncio.Lock()
        self.log: Log | None = None
        self._told = False

    def load(self) -> None:
        """Loads the package; until that has succeeded, the one that was loaded before stays.

        Raises:
            NbshipError: It cannot be loaded.
        """
        generation = self.settings.generation.value
        predictor = load_predictor(self.settings.folder)
        self._describe(predictor)
        self.predictor = predictor
        self.generation = generation
        self._told = False
        gc.unfreeze()
        gc.collect()  # what is left of a model that was loaded before
        gc.freeze()  # what is loaded stays: large requests would have it looked through again and again
        self.ready = True
        compiled = self.predictor.compiled
        if compiled.why_not:
            outcome = "compiled again" if compiled.session else "not compiled"
            _logger.warning("%s: %s, %s", self.name, outcome, compiled.why_not)

    def _describe(self, predictor: Predictor) -> None:
        """Tells the log which model is going to answer; opens it for the first."""
        described = (predictor.package.inputs, predictor.package.output)
        if self.log is not None:
            self.log.describe(*described)
        elif self.settings.log is not None:
            self.log = self.settings.log(*described, metrics.UNKEPT.labels(self.name).inc)

    def close(self) -> None:
        """Puts away what was asked and answered; nothing is answered any more."""
        if self.log is not None:
            self.log.close()

    def predict_v1(self, body: bytes | bytearray, wait: bool = True, kept: bool = True) -> Answer:
        """Answers a request in V1.

        Args:
            body: JSON.
            wait: Whether there is time to load the pipeline.
            kept: Whether it is a request like others, and no check.

        Raises:
            RequestError: It does not fit.
            PipelineNotLoadedError: See `Predictor.predict`.
            NbshipError: See `Predictor.predict`.
        """
        predictor, at_most = self.predictor, self.settings.records_at_most
        values = predictor.read(body)
        if values is None or values.rows > at_most:
            values = protocol.parse_v1(predictor.columns, protocol.parse_json(body), at_most)
        predicted = self.predict(predictor, values, wait, kept)
        answer = protocol.answer_v1(predictor.package.output, values, predicted.prediction)
        return Answer(msgspec.json.encode(answer), predicted.headers)

    def predict_v2(self, body: bytes | bytearray, wait: bool = True, kept: bool = True) -> Answer:
        """Answers a request in V2; see `predict_v1`."""
        predictor, content = self.predictor, protocol.parse_json(body)
        values = protocol.parse_v2(predictor.columns, content, self.settings.records_at_most)
        predicted = self.predict(predictor, values, wait, kept)
        output, version = predictor.package.output, self.version(predictor)
        answer = protocol.answer_v2(self.name, version, output, content, predicted.prediction)
        return Answer(msgspec.json.encode(answer), predicted.headers)

    def correct(self, body: bytes | bytearray, _: bool = True) -> Answer:
        """Takes a correction, `{"record": "…", "value": 21}`, as the header of an answer names its record.

        Raises:
            RequestError: It does not fit, corrections are off, or there are too many at once.
        """
        if self.log is None or not self.settings.corrections:
            raise RequestError(404, "corrections are off: start the server with --log and --corrections")
        if len(body) > _CORRECTION_BYTES:
            raise RequestError(413, f"a correction has at most {_CORRECTION_BYTES:,} bytes")
        record, value = protocol.parse_correction(protocol.parse_json(body), self.predictor.package.output)
        if not self.log.correct(record, value):
            raise RequestError(503, "too many corrections at once", headers={"Retry-After": "10"})
        return Answer(msgspec.json.encode({"record": record, "value": value}), {})

    def predict(self, predictor: Predictor, values: Values, wait: bool, kept: bool = True) -> Predicted:
        """Checks and predicts values that some protocol has read, and has them kept; see `predict_v1`."""
        checked = check(predictor.columns, values.columns, values.rows)
        if checked.errors.counts:
            metrics.count_findings(metrics.REJECTED, self.name, checked.errors)
            raise protocol.refusal(checked.errors.told, checked.errors.total)
        prediction = self._predicted(predictor, checked, wait)
        metrics.RECORDS.labels(self.name).inc(values.rows)
        if checked.flags.counts:
            metrics.count_findings(metrics.FLAGGED, self.name, checked.flags)
        flags, headers = checked.flags.told, {}
        if flags:
            headers[WARNINGS] = warnings_header(flags)
        if kept and self.log is not None:
            record = self.log.note(self.version(predictor), checked, prediction, flags)
            if record:
                headers[RECORD] = record
        return Predicted(prediction, headers)

    def _predicted(self, predictor: Predictor, checked: CheckedValues, wait: bool) -> Prediction:
        try:
            prediction = predictor.predict(checked, wait)
        except RequestError as error:
            for problem in error.problems:
                metrics.REJECTED.labels(self.name, problem.field, problem.reason).inc()
            raise
        if prediction.failure:
            metrics.FALLBACKS.labels(self.name).inc()
            if not self._told:
                _logger.warning("%s: the compiled model failed: %s", self.name, prediction.failure)
                self._told = True
        return prediction

    def version(self, predictor: Predictor) -> str:
        """Returns the version that is told to clients: the registered one, else the run."""
        return self.settings.version or predictor.package.origin.run

    def metadata(self) -> dict[str, Any]:
        """Describes the model: V2's metadata, and under `nbship` what a page or a client needs to know."""
        predictor = self.predictor
        package = predictor.package
        return {
            "name": self.name,
            "versions": [self.version(predictor)],
            "platform": "nbship-sklearn",
            "inputs": protocol.input_tensors(predictor.columns),
            "outputs": protocol.output_tensors(package.output),
            "nbship": {
                **self.summary(),
                "columns": [column.model_dump(mode="json") for column in predictor.columns],
                "output": package.output.model_dump(mode="json"),
                "rows": package.rows,
                "metrics": package.metrics,
                "version": self.version(predictor),
                "run": package.origin.run,
                "revision": package.origin.revision,
                "trained": package.origin.started.isoformat(),
                "synthetic": package.origin.synthetic,
                "corrections": self.log is not None and self.settings.corrections,
                "example": package.golden[0].record,
            },
        }

    def summary(self) -> dict[str, str]:
        """Returns what a list of models says of this one."""
        title = self.name.replace("-", " ").capitalize()
        return {"name": self.name, "title": title, "description": self.predictor.package.description}


def warnings_header(flags: Sequence[Problem]) -> str:
    """Writes flags as a header takes them: JSON in ASCII, as many as fit; empty if there are none."""
    if not flags:
        return ""
    contents = [problem_content(flag) for flag in flags]
    while len(text := json.dumps(contents)) > _HEADER_BYTES:
        contents.pop()
    return text
