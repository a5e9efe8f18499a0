"""A model package as one of KServe's models: loaded, described, and asked for predictions.

Answers bodies of requests with bodies of answers; how they travel is the business of `routes`.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import kserve
import msgspec

from nbship.package.records import Checked, Problem, Values, check
from nbship.serving import metrics, protocol
from nbship.serving.predictor import Prediction, Predictor, RefusedError, load_predictor
from nbship.serving.settings import Settings

# A header that proxies let pass.
_HEADER_BYTES = 4000
_logger = logging.getLogger("nbship.serving")


@dataclass(frozen=True)
class Answer:
    """The answer to a request for predictions.

    Attributes:
        body: JSON.
        warnings: Flagged values as JSON in ASCII, short enough for a header; empty if there are none.
    """

    body: bytes
    warnings: str = ""


class PackagedModel(kserve.Model):  # type: ignore[misc]
    """A model that was published by nbship; `load` it before it is asked."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.name)
        self.settings = settings
        self.predictor: Predictor
        self.generation = -1
        self.told = False

    def load(self) -> bool:
        """Loads the package; until that has succeeded, the one that was loaded before stays."""
        generation = self.settings.generation.value
        self.predictor = load_predictor(self.settings.folder)
        self.generation = generation
        self.told = False
        gc.unfreeze()
        gc.collect()  # what is left of a model that was loaded before
        gc.freeze()  # what is loaded stays: large requests would have it looked through again and again
        self.ready = True
        if not self.predictor.compiled.session:
            _logger.warning("%s: not compiled, %s", self.name, self.predictor.compiled.why_not)
        return self.ready

    def get_input_types(self) -> list[dict[str, Any]]:
        """Returns the columns as V2's metadata describes them."""
        return protocol.input_tensors(self.predictor.columns)

    def get_output_types(self) -> list[dict[str, Any]]:
        """Returns the output as V2's metadata describes it."""
        return protocol.output_tensors(self.predictor.package.output)

    def predict_v1(self, body: bytes | bytearray) -> Answer:
        """Answers a request in V1.

        Raises:
            RefusedError: It does not fit.
        """
        predictor, at_most = self.predictor, self.settings.records_at_most
        values = predictor.read(body)
        if values is None or values.rows > at_most:
            values = protocol.parse_v1(predictor.columns, protocol.parse_json(body), at_most)
        prediction, warnings = self._predict(predictor, values)
        answer = protocol.answer_v1(predictor.package.output, values, prediction)
        return Answer(msgspec.json.encode(answer), warnings)

    def predict_v2(self, body: bytes | bytearray) -> Answer:
        """Answers a request in V2.

        Raises:
            RefusedError: It does not fit.
        """
        predictor, content = self.predictor, protocol.parse_json(body)
        values = protocol.parse_v2(predictor.columns, content, self.settings.records_at_most)
        prediction, warnings = self._predict(predictor, values)
        output = predictor.package.output
        answer = protocol.answer_v2(self.name, self.version(predictor), output, content, prediction)
        return Answer(msgspec.json.encode(answer), warnings)

    def _predict(self, predictor: Predictor, values: Values) -> tuple[Prediction, str]:
        checked = check(predictor.columns, values.columns, values.rows)
        if checked.errors.counts:
            metrics.count_findings(metrics.REJECTED, self.name, checked.errors)
            raise protocol.refusal(checked.errors.told, checked.errors.total)
        prediction = self._predicted(predictor, checked)
        metrics.RECORDS.labels(self.name).inc(values.rows)
        if not checked.flags.counts:
            return prediction, ""
        metrics.count_findings(metrics.FLAGGED, self.name, checked.flags)
        return prediction, warnings_header(checked.flags.told)

    def _predicted(self, predictor: Predictor, checked: Checked) -> Prediction:
        try:
            prediction = predictor.predict(checked)
        except RefusedError as refused:
            for problem in refused.problems:
                metrics.REJECTED.labels(self.name, problem.field, problem.reason).inc()
            raise
        if prediction.failure:
            metrics.FALLBACKS.labels(self.name).inc()
            if not self.told:
                _logger.warning("%s: the compiled model failed: %s", self.name, prediction.failure)
                self.told = True
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
            "inputs": self.get_input_types(),
            "outputs": self.get_output_types(),
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
                "example": package.golden[0].record,
            },
        }

    def summary(self) -> dict[str, str]:
        """Returns what a list of models says of this one."""
        title = self.name.replace("-", " ").capitalize()
        return {"name": self.name, "title": title, "description": self.predictor.package.description}


def problem_content(problem: Problem) -> dict[str, Any]:
    """Returns a problem as it is told in answers."""
    return {
        "instance": problem.instance,
        "field": problem.field,
        "given": problem.given,
        "problem": problem.problem,
        "accepted": problem.accepted,
        "suggestion": problem.suggestion,
    }


def refusal_content(refused: RefusedError) -> Mapping[str, Any]:
    """Returns the body of an answer to a request that is refused."""
    fields = [problem_content(problem) for problem in refused.problems]
    return {"error": refused.message, "fields": fields} if fields else {"error": refused.message}


def warnings_header(flags: list[Problem]) -> str:
    """Writes flags as a header takes them: JSON in ASCII, as many as fit."""
    import json

    contents = [problem_content(flag) for flag in flags]
    while len(text := json.dumps(contents)) > _HEADER_BYTES:
        contents.pop()
    return text
