"""What a Kubeflow Pipelines API server accepts, for the server on loopback: names, parameters, times, lists.

Learnt from the server's source (github.com/kubeflow/pipelines, Go, below `backend/src`) and, where the source
leaves it to the database, measured on version 2.17.0 with MariaDB. Each rule says where it is from.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any
from urllib.parse import unquote_plus

from google.protobuf import json_format
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec

Record = dict[str, Any]

# `apiserver/validation/length.go`. Go's `len` counts bytes.
_LONGEST_BYTES = {"Pipeline": 128, "PipelineVersion": 127}
# The column of experiments, and what MariaDB's `charset=utf8` has no room for: measured, answered by 500.
_LONGEST_EXPERIMENT = 128
_LAST_OF_BMP = "\uffff"
# `IsDNS1123Subdomain` of Kubernetes' validation.
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# `apiserver/common/util.go`, ValidatePipelineName: of the pipeline inside the file.
_INNER_NAME = re.compile(r"[a-z0-9][-a-z0-9]{0,127}")
# robfig/cron 1.x, `spec.go`: lowest and highest value by field, and words for them.
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_CRON: list[tuple[int, int, list[str]]] = [
    (0, 59, []),
    (0, 59, []),
    (0, 23, []),
    (1, 31, []),
    (1, 12, _MONTHS),
    (0, 6, _DAYS),
]
_DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
# `apiserver/template/v2_template.go`, validatePipelineJobInputs: what a value must be, and how it is called.
_TYPES: dict[str, tuple[tuple[type, ...], str, str]] = {
    "NUMBER_DOUBLE": ((int, float), "double or integer", "number"),
    "NUMBER_INTEGER": ((int, float), "double or integer", "number"),
    "STRING": ((str,), "string", "string"),
    "BOOLEAN": ((bool,), "bool", "bool"),
    "LIST": ((list,), "list", "list"),
    "STRUCT": ((dict,), "struct", "struct"),
}


class RefusedError(Exception):
    """The server's refusal, with its HTTP status; `plain` is without JSON around it."""

    def __init__(self, status: int, message: str, plain: bool = False) -> None:
        super().__init__(message)
        self.status, self.plain = status, plain


def check_upload_name(kind: str, name: str) -> None:
    """`pipeline_upload_server.go` answers with `http.Error`, which writes plain text."""
    limit = _LONGEST_BYTES[kind]
    if len(name.encode()) > limit:
        raise RefusedError(400, f"Invalid input error: {kind}.Name length cannot exceed {limit}", plain=True)


def check_experiment_name(name: str) -> None:
    """Nothing checks it before the database, which refuses by an error of the server."""
    if not name:
        raise RefusedError(400, "Invalid input error: Experiment name is empty. Please specify a valid name")
    if len(name) > _LONGEST_EXPERIMENT:
        raise RefusedError(500, "InternalServerError: Error 1406: Data too long for column 'Name'")
    if max(name) > _LAST_OF_BMP:
        raise RefusedError(500, "InternalServerError: Error 1366: Incorrect string value for column 'Name'")


def check_kubernetes_name(kind: str, name: str) -> None:
    """`storage/pipeline_store_kubernetes.go`, where pipelines are Kubernetes' resources."""
    if len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        raise RefusedError(400, f'Invalid input error: Invalid {kind} name "{name}": a lowercase RFC 1123 …')


def check_inner_name(spec: Record) -> None:
    """The name in the compiled file."""
    if not _INNER_NAME.fullmatch(spec["pipelineInfo"]["name"]):
        raise RefusedError(400, "Invalid input error: pipeline's name must contain only lowercase …")


def collated(name: str) -> str:
    """What the database compares: `utf8_general_ci` knows neither case nor accents, nor blanks at the end."""
    plain = unicodedata.normalize("NFKD", name.rstrip(" "))
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).lower().replace("ß", "s")


def check_parameters(spec: Record, given: Record) -> None:
    """Values for the run's parameters, by the types in the compiled file."""
    known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, parameter in known.items():
        if name not in given and "defaultValue" not in parameter and not parameter.get("isOptional"):
            raise RefusedError(
                400, f"Invalid input error: parameter {name} is not optional, yet has neither default value …"
            )
        if name in given:
            types, wanted, kind = _TYPES[parameter["parameterType"]]
            value = given[name]
            if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
                raise RefusedError(
                    400,
                    f"Invalid input error: input parameter {name} requires type {wanted}, "
                    f"but the parameter value is not of {kind} value type",
                )
    extra = [name for name in given if name not in known]
    if extra:
        raise RefusedError(
            400,
            "Failed to create a new run: Invalid input error: "
            f"parameter(s) provided are not required by pipeline: {', '.join(extra)}",
        )


def check_spec(content: Record, platforms: list[Record]) -> None:
    """`apiserver/template/v2_template.go`, NewV2SpecTemplate."""
    try:
        spec = json_format.ParseDict(content, PipelineSpec())
        for platform in platforms:
            json_format.ParseDict(platform, PlatformSpec())
    except json_format.ParseError as error:
        raise RefusedError(400, f"Failed to read a pipeline spec file: {error}") from None
    if spec.schema_version != "2.1.0" or not spec.pipeline_info.name or not spec.root.dag.tasks:
        raise RefusedError(400, "Failed to read a pipeline spec file: no v2 pipeline")


def check_cron(text: str) -> None:
    """`server/api_converter.go` has robfig/cron read it: seconds first, and the weekday may be left out."""
    try:
        _read_cron(text)
    except ValueError as error:
        raise RefusedError(
            400,
            "Invalid input error: Schedule cron is not a supported format"
            f"(https://godoc.org/github.com/robfig/cron). Error: {error}",
        ) from None


def _read_cron(text: str) -> None:
    if text.startswith("@"):
        if text not in _DESCRIPTORS and not re.fullmatch(r"@every (\d+(ms|s|m|h))+", text):
            raise ValueError(f"Unrecognized descriptor: {text}")
        return
    fields = text.split()
    if len(fields) not in (5, 6):
        raise ValueError(f"Expected 5 to 6 fields, found {len(fields)}: {text}")
    for field, (low, high, words) in zip(fields, _CRON, strict=False):
        for part in field.split(","):
            _read_part(part, low, high, words)


def _read_part(part: str, low: int, high: int, words: list[str]) -> None:
    span, slash, step = part.partition("/")
    begin, dash, end = span.partition("-")
    if begin in ("*", "?"):
        if dash:
            raise ValueError(f"Failed to parse int from {begin}: {part}")
        first, last = low, high
    else:
        first = _number(begin, low, words)
        last = _number(end, low, words) if dash else high if slash else first
    if slash and (not step.isdecimal() or int(step) == 0):
        raise ValueError(f"Step of range should be a positive number: {part}")
    if first < low:
        raise ValueError(f"Beginning of range ({first}) below minimum ({low}): {part}")
    if last > high:
        raise ValueError(f"End of range ({last}) above maximum ({high}): {part}")
    if first > last:
        raise ValueError(f"Beginning of range ({first}) beyond end of range ({last}): {part}")


def _number(text: str, low: int, words: list[str]) -> int:
    if text.lower() in words:
        return words.index(text.lower()) + low
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"Failed to parse int from {text}: strconv.Atoi: parsing {text!r}: invalid syntax")
    return int(text)


def workflow_name(schedule: str, number: int) -> str:
    """`crd/controller/scheduledworkflow`: of a run that the controller starts: `alinexyz12-1-3984843116`.

    The resource has the schedule's name without what Kubernetes does not take, and five letters of chance.
    """
    resource = re.sub("[^a-z0-9]", "", schedule.lower())[:25] + "xyz12"
    return f"{resource}-{number}-3984843116"


def listed(key: str, records: list[Record], query: dict[str, str], exact: bool = False) -> Record:
    """A page of a list, filtered and sorted; `exact` where it is not a database that compares names."""
    asked = {key: query[key] for key in ("filter", "sort_by") if query.get(key)}
    # `apiserver/list`, Options.Matches: a token holds the filter and the order that it was made for. One that
    # comes with others is refused; one that comes with neither goes on with those.
    token = json.loads(query["page_token"]) if query.get("page_token") else {}
    if token and asked and asked != token["asked"]:
        raise RefusedError(400, "Invalid input error: page token does not match the sorting or filter")
    asked = token.get("asked", asked)
    # `server/list_request_util.go`, parseAPIFilter: decodes once more what the address was decoded from.
    for predicate in json.loads(unquote_plus(asked.get("filter", "{}"))).get("predicates", []):
        records = [r for r in records if _holds(predicate, r.get(predicate["key"], ""), exact)]
    if asked.get("sort_by", "").endswith("desc"):
        records = sorted(records, key=lambda r: r["created_at"], reverse=True)
    start, size = token.get("start", 0), int(query.get("page_size", 10))
    following = json.dumps({"start": start + size, "asked": asked})
    more = {"next_page_token": following} if start + size < len(records) else {}
    page = records[start : start + size]
    return {"total_size": len(records), **({key: page} if page else {}), **more}


def _holds(predicate: Record, value: str, exact: bool) -> bool:
    same = str if exact else collated
    given, wanted = same(value), same(predicate["stringValue"])
    return {1: given == wanted, 9: wanted in given}[predicate["operation"]]
