"""A loaded model: checks values, predicts by the fast path where that is the same, else by the pipeline.

Does not change once it is made, so that a server can exchange it for another between two requests.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from nbship.package import MODEL, Package, load_model, read_package
from nbship.package.accepted import with_labels, with_limits
from nbship.package.comparison import compared
from nbship.package.compiled import Compiled, compile_model, describe
from nbship.package.faults import find_fault
from nbship.package.records import Checked, Problem, check
from nbship.package.schema import Column, columns_to_table, rows_of_one_type, typical_record
from nbship.serving.reader import Reader, make_reader

# No category is called that.
_UNSEEN = "\N{REPLACEMENT CHARACTER}unseen"


class RefusedError(Exception):
    """A request that cannot be answered, told to its sender.

    Args:
        status: Of HTTP.
        message: One line.
        problems: The values that do not fit.
        headers: Of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        problems: Sequence[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.problems = problems
        self.headers = headers


@dataclass(frozen=True)
class Prediction:
    """What a model makes of records.

    Attributes:
        values: Number or class of each record.
        probabilities: For each class, in the order of `Output.classes`, its probability in every record;
            empty if the model gives none.
        intervals: Lower and upper end for each record; empty if they are not known.
        scores: How ordinary each record is, the lower the less; empty if the model does not score.
        failure: How the compiled model failed, if it did and the pipeline answered in its place.
    """

    values: list[Any]
    probabilities: list[list[float]] = field(default_factory=list)
    intervals: list[list[float]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    failure: str = ""


@dataclass(frozen=True)
class Predictor:
    """A model that is ready to predict."""

    package: Package
    columns: tuple[Column, ...]
    estimator: Any
    compiled: Compiled
    read: Reader

    def predict(self, checked: Checked) -> Prediction:
        """Predicts records that were found to fit.

        The compiled model answers for what it was compared on; the pipeline itself answers when a value is
        unlike those in training, or a text is missing, and when the compiled model fails.

        Raises:
            RefusedError: The model cannot predict one of them.
        """
        if self.compiled.session and checked.complete:
            prediction = self._of_compiled(checked)
        else:
            prediction = self._of_pipeline(checked)
        interval = self.package.output.interval
        if interval:
            prediction.intervals.extend(map(interval.around, prediction.values))
        return prediction

    def _of_compiled(self, checked: Checked) -> Prediction:
        try:
            return self._of_outputs(self.compiled.run(self.columns, checked.coded))
        except Exception as error:  # it was compared on some records, not on all that there can be
            return replace(self._of_pipeline(checked), failure=type(error).__name__)

    def _of_outputs(self, outputs: Sequence[Any]) -> Prediction:
        output = self.package.output
        if output.kind == "regression":
            return Prediction(_finite(outputs[0]).ravel().tolist())
        if not output.probabilities:
            return Prediction(outputs[0].tolist())
        shares = _finite(outputs[1])
        return Prediction([output.classes[i] for i in shares.argmax(axis=1).tolist()], shares.T.tolist())

    def _of_pipeline(self, checked: Checked) -> Prediction:
        try:
            return self._predicted(checked.values)
        except Exception as error:  # the model's own code may raise anything
            reason = describe(error)
        fault = find_fault(self._predicted, self.columns, checked.values, checked.rows)
        if fault is None:
            raise RefusedError(422, f"the model cannot predict these records: {reason}")
        unusual = [flag for flag in checked.flags.told if flag.instance == fault.instance]
        problems = [fault.problem] if fault.problem else unusual
        message = str(
            fault.problem or f"record {fault.instance}: the model cannot predict it: {fault.reason}"
        )
        raise RefusedError(422, message, problems)

    def _predicted(self, values: Mapping[str, Sequence[Any]]) -> Prediction:
        groups = rows_of_one_type(self.columns, values)
        if len(groups) < 2:
            return self._predicted_together(values)
        parts = [
            self._predicted_together({name: [column[row] for row in rows] for name, column in values.items()})
            for rows in groups
        ]
        place = sorted(range(sum(map(len, groups))), key=list(chain.from_iterable(groups)).__getitem__)

        def in_order(lists: Iterable[Sequence[Any]]) -> list[Any]:
            joined = list(chain.from_iterable(lists))
            return [joined[at] for at in place] if joined else []

        shares = zip(*(part.probabilities for part in parts), strict=True)
        return Prediction(
            in_order(part.values for part in parts),
            [in_order(each) for each in shares],
            scores=in_order(part.scores for part in parts),
        )

    def _predicted_together(self, values: Mapping[str, Sequence[Any]]) -> Prediction:
        import numpy as np

        output = self.package.output
        table = columns_to_table(self.columns, values)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of categories that it does not know
            predicted = np.asarray(self.estimator.predict(table)).ravel()
            scores = self.estimator.score_samples(table) if output.scores else None
            shares = self.estimator.predict_proba(table) if output.probabilities else None
        if output.kind == "regression":
            return Prediction(_finite(predicted).tolist())
        return Prediction(
            predicted.tolist(),
            [] if shares is None else _finite(shares).T.tolist(),
            scores=[] if scores is None else _finite(scores).tolist(),
        )


def load_predictor(folder: Path) -> Predictor:
    """Loads a model package.

    Raises:
        NbshipError: It is damaged, or was fitted with another scikit-learn.
    """
    package = read_package(folder)
    estimator = load_model(folder)
    columns = tuple(_as_the_model_can(column, package, estimator) for column in package.inputs)
    compiled = _compile(package, estimator, columns, (folder / MODEL).stat().st_size)
    plain = Predictor(package, columns, estimator, Compiled(), make_reader(columns))
    labelled = [with_labels(column) for column in columns]
    columns = with_limits(labelled, plain._predicted, typical_record(columns))
    predictor = replace(plain, columns=columns, compiled=compiled)
    with contextlib.suppress(RefusedError):  # a first prediction takes longer; what it is does not matter
        predictor.predict(check(columns, _typical_values(columns), 1))
    return predictor


def _compile(package: Package, estimator: Any, columns: Sequence[Column], size: int) -> Compiled:
    if package.output.scores:
        return Compiled(why_not="scores are not compiled")
    compiled = compile_model(estimator, columns, size)
    return compared(compiled, estimator, columns, package.output, [each.record for each in package.golden])


def _typical_values(columns: Sequence[Column]) -> dict[str, list[Any]]:
    return {name: [value] for name, value in typical_record(columns).items()}


def _as_the_model_can(column: Column, package: Package, estimator: Any) -> Column:
    """Has unseen categories refused if the model cannot take them, whatever the pipeline file says."""
    if column.type != "category" or column.unseen == "refuse":
        return column
    values = _typical_values(package.inputs) | {column.name: [_UNSEEN]}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.predict(columns_to_table(package.inputs, values))
    except Exception:  # the model's own code may raise anything
        return column.model_copy(update={"unseen": "refuse"})
    return column


def _finite(numbers: Any) -> Any:
    import numpy as np

    if not np.isfinite(numbers).all():
        raise ArithmeticError("its prediction is not finite")
    return numbers
