"""A loaded model: predicts by its compiled form where that is the same, else by its pipeline.

Does not change once it is made, so that a server can exchange it for another between two requests; but for
the pipeline, which is unpickled for the first record that needs it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from nbship.package import Package, PackagedPipeline, load_compiled, open_package
from nbship.package.accepted import applied, measured
from nbship.package.comparison import differs_from_golden
from nbship.package.compiled import Compiled, describe
from nbship.package.faults import find_fault
from nbship.package.prediction import Prediction, from_outputs, from_pipeline
from nbship.package.records import CheckedValues, check
from nbship.package.schema import Column, typical_record
from nbship.serving.errors import PipelineNotLoadedError, RequestError
from nbship.serving.reader import Reader, make_reader


@dataclass(frozen=True)
class Predictor:
    """A model that is ready to predict.

    Attributes:
        package: Its description.
        columns: What it takes, as values are checked by them.
        pipeline: The pipeline itself.
        compiled: Its compiled form; without a session if there is none.
        read: Reads bodies quickly.
    """

    package: Package
    columns: tuple[Column, ...]
    pipeline: PackagedPipeline
    compiled: Compiled
    read: Reader

    @property
    def estimator(self) -> Any:
        """The pipeline, unpickled."""
        return self.pipeline.estimator()

    def predict(self, checked: CheckedValues, wait: bool = True) -> Prediction:
        """Predicts records that were found to fit.

        The compiled model answers for what it was compared on; the pipeline itself answers when a value is
        unlike those in training, or a text is missing, and when the compiled model fails.

        Args:
            checked: The records.
            wait: Whether there is time to load the pipeline.

        Raises:
            RequestError: The model cannot predict one of them.
            PipelineNotLoadedError: The pipeline has to answer, and there is no time to load it.
            NbshipError: It cannot be loaded.
        """
        if self.compiled.session and checked.complete:
            prediction = self._by_compiled(checked, wait)
        else:
            prediction = self._by_pipeline(checked, wait)
        interval = self.package.output.interval
        if interval:
            prediction.intervals.extend(map(interval.around, prediction.values))
        return prediction

    def _by_compiled(self, checked: CheckedValues, wait: bool) -> Prediction:
        try:
            return from_outputs(self.package.output, self.compiled.run(self.columns, checked.coded))
        except Exception as error:  # it was compared on some records, not on all that there can be
            failure = type(error).__name__
        return replace(self._by_pipeline(checked, wait), failure=failure)

    def _by_pipeline(self, checked: CheckedValues, wait: bool) -> Prediction:
        if not wait and not self.pipeline.loaded:
            raise PipelineNotLoadedError
        predict = partial(from_pipeline, self.estimator, self.columns, self.package.output)
        try:
            return predict(checked.values)
        except Exception as error:  # the model's own code may raise anything
            reason = describe(error)
        fault = find_fault(predict, self.columns, checked.values, checked.rows)
        if fault is None:
            raise RequestError(422, f"the model cannot predict these records: {reason}")
        unusual = [flag for flag in checked.flags.told if flag.instance == fault.instance]
        problems = [fault.problem] if fault.problem else unusual
        message = str(
            fault.problem or f"record {fault.instance}: the model cannot predict it: {fault.reason}"
        )
        raise RequestError(422, message, problems)


def load_predictor(folder: Path) -> Predictor:
    """Loads a model package: its compiled form, and the pipeline only where that cannot be used.

    Raises:
        NbshipError: It is damaged, was fitted with another scikit-learn, or cannot be loaded here.
    """
    package, pipeline = open_package(folder)
    columns = applied(package.inputs)
    compiled = load_compiled(folder, package)
    if compiled.session:
        problem = differs_from_golden(compiled, columns, package.output, package.golden)
        compiled = Compiled(why_not=problem) if problem else compiled
    if not compiled.session:
        columns, compiled = _by_asking(package, pipeline, compiled.why_not)
    predictor = Predictor(package, columns, pipeline, compiled, make_reader(columns))
    with contextlib.suppress(RequestError, PipelineNotLoadedError):
        # A first prediction takes longer; what it is does not matter.
        predictor.predict(check(columns, _typical_values(columns), 1), wait=False)
    return predictor


def _by_asking(
    package: Package, pipeline: PackagedPipeline, why_not: str
) -> tuple[tuple[Column, ...], Compiled]:
    """Measures and compiles a model as building its package does, where that did not, or elsewhere."""
    from nbship.package.compilation import compiled_form

    estimator = pipeline.estimator()
    predict = partial(from_pipeline, estimator, package.inputs, package.output)
    columns = applied(measured(package.inputs, predict))
    known = [each.record for each in package.golden]
    compiled = compiled_form(estimator, columns, package.output, known, pipeline.size)
    return columns, replace(compiled, content=b"", why_not=compiled.why_not or why_not)


def _typical_values(columns: Sequence[Column]) -> Mapping[str, list[Any]]:
    return {name: [value] for name, value in typical_record(columns).items()}
