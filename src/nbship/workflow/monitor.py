"""Says whether what serves is still right: a window of what it was asked, held against its reference.

Finds the version, its package and the records; the statistics are `monitoring`'s, the page is `pages`'.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nbship import package
from nbship.config import Pipeline
from nbship.errors import Report, UsageError, suggestion
from nbship.files import write_text
from nbship.monitoring.examination import Examination, examine
from nbship.monitoring.records import read_records
from nbship.package import Package
from nbship.package.sample import SAMPLE, ReferenceSample, parse_sample
from nbship.pages.monitor_page import monitor_page
from nbship.record import PAGE, RUNS
from nbship.versions import git, registry, stages
from nbship.versions.content import read_content
from nbship.workflow.models import list_models
from nbship.workflow.monitor_view import view_of

REPORT = "monitor.json"
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@dataclass(frozen=True)
class MonitorWindow:
    """Which records are examined, and with what they are compared.

    Attributes:
        since: A length of time before the end, such as 7d, 12h or 2w; or a time in ISO form.
        until: A time in ISO form, the window's end; now if empty.
        version: Whose answers are examined; the champion's if empty.
        stage: In place of a version: the one that went there last.
        against: The version whose reference they are compared with; the same one if empty.
    """

    since: str = "7d"
    until: str = ""
    version: str = ""
    stage: str = ""
    against: str = ""


@dataclass(frozen=True)
class Monitored:
    """What was found, and where it is written.

    Attributes:
        examination: What was found.
        page: A page that shows it.
        newest_record: When the newest record was asked; None if there is none.
        newest_label: When the newest label of any record arrived; None if there is none.
    """

    examination: Examination
    page: Path
    newest_record: datetime | None = None
    newest_label: datetime | None = None


def monitor(
    root: Path,
    pipeline: Pipeline,
    window: MonitorWindow = MonitorWindow(),
    store: str = "",
    now: datetime | None = None,
    report: Report = lambda _: None,
) -> Monitored:
    """Compares what a model was asked in a time with its reference, and writes a page and `monitor.json`.

    Args:
        root: The project's folder.
        pipeline: That made the model.
        window: What is examined.
        store: Where the records are; where the pipeline file says if empty.
        now: The time; now if None.
        report: Told in a line what is being waited for.

    Raises:
        UsageError: There is no such version, no champion, or nothing says where the records are.
        NbshipError: The records or the reference cannot be read.
    """
    address = store or pipeline.monitor.store
    if not address:
        raise UsageError(
            f"nothing says where the records of {pipeline.name} are", "set monitor.store, or give --store"
        )
    if "://" not in address:
        address = str(root / address)
    now = now or datetime.now(UTC)
    until = _moment(window.until, "--until") if window.until else now
    since = _since(window.since, until)
    version = _version(root, pipeline.name, window)
    described, sample = read_reference_of(root, pipeline.name, window.against or version, report)
    records = read_records(address, pipeline.name, until=until)
    examination = examine(
        described,
        sample,
        records,
        since,
        until,
        version=version,
        reference=window.against or version,
        private=pipeline.monitor.hidden,
    )
    folder = monitor_folder(root, pipeline.name)
    write_text(folder / REPORT, json.dumps(as_json(examination), ensure_ascii=False, indent=2) + "\n")
    write_text(folder / PAGE, monitor_page(view_of(described, examination)))
    asked, arrived = records.answers["time"], records.labels["arrived"]
    newest = (times.max().to_pydatetime() if len(times) else None for times in (asked, arrived))
    return Monitored(examination, folder / PAGE, *newest)


def monitor_folder(root: Path, name: str) -> Path:
    """Returns where the last examination of a model is written."""
    return root / RUNS / name / "monitor"


def as_json(examination: Examination) -> dict[str, Any]:
    """Returns an examination as plain data."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [plain(each) for each in value]
        if isinstance(value, float) and (value != value or abs(value) == float("inf")):
            return None
        return value.isoformat() if isinstance(value, datetime) else value

    found = plain(asdict(examination))
    for given, finding in zip(found["findings"], examination.findings, strict=True):
        given["state"] = finding.state
    return dict(found)


def read_reference_of(
    root: Path, name: str, version: str, report: Report = lambda _: None
) -> tuple[Package, ReferenceSample | None]:
    """Reads the description of a version and its sample; those of the champion for no version.

    Raises:
        UsageError: There is no such version, or no champion.
        NbshipError: Its files cannot be had.
    """
    tracking, description = registry.versioned_files(root, name)
    texts = [path.read_text(encoding="utf-8") if path.is_file() else None for path in (tracking, description)]
    if version:
        found = {each.version: each.commit for each in registry.versions(root, name)}
        if version not in found:
            raise UsageError(f"{name} has no version '{version}'", suggestion(version, found))
        texts = [git.read_at(root, found[version], path) for path in (tracking, description)]
    if texts[0] is None or texts[1] is None:
        raise UsageError(f"{name} has no champion yet", f"publish one: nbship publish {name}")
    described = package.parse_package(texts[1], f"model.json of {name} {version}".rstrip())
    if described.sample is None:
        return described, None
    found_sample = read_content(root, texts[0], SAMPLE, report)
    return described, None if found_sample is None else parse_sample(found_sample, described.sample)


def _version(root: Path, name: str, window: MonitorWindow) -> str:
    if window.version and window.stage:
        raise UsageError("--version and --stage say the same thing", "give one of them")
    if window.version:
        return window.version
    if not window.stage:
        return list_models(root, name)[0].champion if git.in_repository(root) else ""
    history = stages.history(root, name, window.stage)
    if not history:
        raise UsageError(
            f"nothing of {name} was deployed to {window.stage}", f"see: nbship deployments {name}"
        )
    return history[0].version


def _since(text: str, until: datetime) -> datetime:
    length = re.fullmatch(r"(\d+)([hdw])", text)
    if length is None:
        return _moment(text, "--since")
    try:
        return until - int(length[1]) * _UNITS[length[2]]
    except OverflowError:
        raise UsageError(f"--since {text}: too long ago", "a length such as 7d") from None


def _moment(text: str, option: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text}: not a time", "such as 7d, 12h, 2w or 2026-01-31T12:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
