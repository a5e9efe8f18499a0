"""A request that cannot be answered, whatever protocol it came by, and how that is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nbship.package.records import Problem
from nbship.serving.content import ErrorContent, FieldProblem


class RequestError(Exception):
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


class PipelineNotLoadedError(Exception):
    """A request that the pipeline has to answer, which is not loaded yet; that takes seconds."""


def problem_content(problem: Problem) -> FieldProblem:
    """Returns a problem as it is told in answers."""
    return {
        "instance": problem.instance,
        "field": problem.field,
        "given": problem.given,
        "problem": problem.problem,
        "accepted": problem.accepted,
        "suggestion": problem.suggestion,
    }


def error_content(error: RequestError) -> ErrorContent:
    """Returns the body of the answer to a request that cannot be answered."""
    fields = [problem_content(problem) for problem in error.problems]
    return {"error": error.message, "fields": fields} if fields else {"error": error.message}
