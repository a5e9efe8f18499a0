"""The fast path: a pipeline in its compiled form, `model.onnx`, run by ONNX Runtime.

Not for records unlike those in training: they are the pipeline's business. How it is made is `compilation`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbship.package.schema import Column

if TYPE_CHECKING:
    import numpy as np

# Records from which on a run's memory is worth more than the time to get it again.
_MANY = 20_000


@dataclass(frozen=True)
class Compiled:
    """A model that ONNX Runtime runs.

    Attributes:
        session: ONNX Runtime's; None if there is none.
        why_not: Says why there is none.
        content: What the session was opened from, the bytes of `model.onnx`.
    """

    session: Any = None
    why_not: str = ""
    content: bytes = b""

    def run(self, columns: Sequence[Column], coded: Mapping[str, Any]) -> list[np.ndarray[Any, Any]]:
        """Returns ONNX's outputs: numbers of shape (rows, 1), or classes and probabilities.

        Args:
            columns: The model's columns.
            coded: Their values, with codes in place of categories; see `records.CheckedValues`.
        """
        import numpy as np

        feed = {}
        for position, column in enumerate(columns):
            array = np.asarray(coded[column.name], dtype=column.kind.compiled)
            name = code_name(position) if column.type == "category" else input_name(position)
            feed[name] = array if column.type in ("array", "category") else array.reshape(-1, 1)
        return list(self.session.run(None, feed, _returning() if len(array) > _MANY else None))


def _returning() -> Any:
    """Has ONNX Runtime return the memory of a run; it would keep it for the next one that is as large."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def open_compiled(content: bytes) -> Compiled:
    """Opens a compiled model.

    Raises:
        Exception: ONNX Runtime cannot read it; of whatever kind.
    """
    return Compiled(open_session(content), content=content)


def open_session(content: bytes) -> Any:
    """Has ONNX Runtime read a model.

    Raises:
        Exception: It cannot; of whatever kind.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One record is done before a second thread wakes up; more processes make use of more cores.
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # an error is raised as well, and its text may quote a record
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def describe(error: Exception) -> str:
    """Returns an error's kind and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def input_name(position: int) -> str:
    """Names an input of the graph: skl2onnx makes names of letters, digits and underscores alone."""
    return f"column {position}"


def code_name(position: int) -> str:
    """Names the input that takes the codes of a category's values."""
    return f"code {position}"
