"""A small web front that takes a JSON file of records and tells what the model says of each.

Asks a model server, here or in a cluster. Not for exploring a model: that is what the page is for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests  # type: ignore[import-untyped]

from nbship.errors import NbshipError

if TYPE_CHECKING:
    from flask import Flask, Request

_BYTES_AT_MOST = 16 * 2**20
# To connect, and to answer: a server that was scaled to zero takes its time. In seconds.
_PATIENCE = (3.05, 60.0)
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ model }}</title>
<h1>{{ model }}</h1>
<form action="predict" method="post" enctype="multipart/form-data">
<p><label for="file">A JSON file with one record, or a list of records</label></p>
<p><input id="file" name="file" type="file" accept=".json,application/json" required>
<button>Predict</button></p>
</form>
</html>
"""


@dataclass(frozen=True)
class Service:
    """A model and where it is served.

    Attributes:
        model: Its name.
        server: Address of the model server.
        host: Host header by which a gateway knows the model; empty if the address says it.
    """

    model: str
    server: str
    host: str = ""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that every request needs."""
        return {"Host": self.host} if self.host else {}


class FrontError(Exception):
    """A request that is answered with an error.

    Args:
        status: Of the answer.
        content: Of the answer: `error`, and `fields` if the server named them.
    """

    def __init__(self, status: int, content: Mapping[str, Any]) -> None:
        super().__init__(content["error"])
        self.status = status
        self.content = content


def create_app(service: Service) -> Flask:
    """Makes the web application.

    Raises:
        NbshipError: Flask is not installed.
    """
    try:
        from flask import Flask, Response, jsonify, render_template_string, request
    except ImportError:
        raise NbshipError("the web front needs Flask", "pip install 'nbship[serve]'") from None

    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _BYTES_AT_MOST
    app.json.sort_keys = False  # type: ignore[attr-defined]

    @app.get("/")
    def index() -> str:
        return render_template_string(_PAGE, model=service.model)

    @app.post("/predict")
    def predict() -> Response:
        content = _uploaded(request)
        records = content if isinstance(content, list) else [content]
        answers = [as_answer(each) for each in ask(service, records)]
        return jsonify(answers if isinstance(content, list) else answers[0])

    @app.errorhandler(FrontError)
    def refuse(error: FrontError) -> tuple[Response, int]:
        return jsonify(error.content), error.status

    @app.errorhandler(413)
    def too_large(_: Exception) -> tuple[Response, int]:
        return jsonify(error=f"the file is larger than {_BYTES_AT_MOST:,} bytes: send several"), 413

    @app.after_request
    def protect(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; form-action 'self'; base-uri 'none'"
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return app


def ask(service: Service, records: list[Any]) -> list[dict[str, Any]]:
    """Asks the model server for predictions.

    Returns:
        For each record the prediction, and `probabilities` by class or an `interval` if there are any.

    Raises:
        FrontError: They are nested too deeply, or the server refuses them, cannot be reached, or answers
            something else.
    """
    try:
        body = json.dumps({"instances": records})  # with NaN as it is: the server says which field has it
    except RecursionError:
        raise FrontError(400, {"error": "the file is nested too deeply"}) from None
    headers = {"Content-Type": "application/json", **service.headers}
    address = f"{service.server.rstrip('/')}/v1/models/{service.model}:predict"
    try:
        response = requests.post(address, data=body, headers=headers, timeout=_PATIENCE)
        content = response.json()
    except requests.Timeout:
        raise FrontError(504, {"error": "the model server takes too long"}) from None
    except requests.JSONDecodeError:
        raise FrontError(
            502, {"error": f"the model server answered with status {response.status_code}"}
        ) from None
    except (requests.RequestException, ValueError):
        raise FrontError(502, {"error": "the model server cannot be reached"}) from None
    if 400 <= response.status_code < 500 and isinstance(content, dict) and "error" in content:
        raise FrontError(response.status_code, content)
    return _answers(content, len(records), response.status_code)


def as_answer(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a prediction as it is told: the label in the model's own words, and its probability."""
    label = given["prediction"]
    name = str(label).lower() if isinstance(label, bool) else str(label)
    shares = given.get("probabilities") or {}
    probability = {"probability": shares[name]} if name in shares else {}
    return {"prediction": label, **probability, **{k: v for k, v in given.items() if k != "prediction"}}


def _answers(content: Any, count: int, status: int) -> list[dict[str, Any]]:
    predictions = content.get("predictions") if isinstance(content, dict) else None
    if status != 200 or not isinstance(predictions, list) or len(predictions) != count:
        raise FrontError(502, {"error": f"the model server gave no predictions (status {status})"})
    answers: list[dict[str, Any]] = [{"prediction": each} for each in predictions]
    for name, key in (("probabilities", "probabilities"), ("intervals", "interval")):
        for answer, each in zip(answers, content.get(name) or [], strict=False):
            answer[key] = each
    return answers


def _uploaded(request: Request) -> Any:
    """Reads the JSON of a request: the file of a form, or the body."""
    body = request.files["file"].read() if "file" in request.files else request.get_data()
    if not body.strip():
        raise FrontError(
            400, {"error": "there is no file: send JSON as the field 'file' of a form, or as the body"}
        )
    try:
        content = json.loads(body)
    except RecursionError:
        raise FrontError(400, {"error": "the file is nested too deeply"}) from None
    except ValueError as error:
        raise FrontError(400, {"error": f"the file is not JSON: {error}"}) from None
    if isinstance(content, dict) and set(content) == {"instances"}:
        content = content["instances"]
    records = content if isinstance(content, list) else [content]
    if not records or not all(isinstance(record, dict) for record in records):
        raise FrontError(
            400, {"error": 'the file has neither a record {"field": value, …} nor a list of records'}
        )
    return content
