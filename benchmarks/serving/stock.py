"""The code path of KServe's sklearn server: its `Model`, and `pipeline.predict` on a DataFrame.

usage: python -m benchmarks.serving.stock --model_name NAME --model_file FILE --http_port PORT
"""

from __future__ import annotations

import argparse
import logging
from typing import Any

import joblib
import kserve
import pandas as pd


class TableModel(kserve.Model):
    """A scikit-learn pipeline that takes a table."""

    def __init__(self, name: str, file: str) -> None:
        super().__init__(name)
        self.estimator = joblib.load(file)
        self.ready = True

    def predict(self, payload: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:  # noqa: ARG002
        """Predicts named records."""
        return {"predictions": self.estimator.predict(pd.DataFrame(payload["instances"])).tolist()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    parser.add_argument("--model_file", required=True)
    given, _ = parser.parse_known_args()
    server = kserve.ModelServer(enable_grpc=False, enable_latency_logging=False)
    for name in ("kserve.trace", "uvicorn.access"):  # it is not to be slow by its log
        logging.getLogger(name).setLevel(logging.WARNING)
    server.start([TableModel(given.model_name, given.model_file)])
