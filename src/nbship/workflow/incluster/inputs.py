"""What a run reads of its repository: which content that is, and its bytes.

Which content is looked up in each run, by `resolve`, and is handed on as parameters. `fetch` brings the
bytes. The same content gives the same parameters, so Kubeflow reuses what an earlier run has fetched, and all
that was made of it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nbship import files
from nbship.config import Data, Pipeline, load_pipeline
from nbship.errors import UsageError
from nbship.graph import CHAMPION
from nbship.kubeflow.plan import CHAMPION_FACTS, FILE
from nbship.package import DESCRIPTION
from nbship.versions import dvc, git, registry
from nbship.versions.clone import clone, clone_with, find_project
from nbship.workflow.incluster.step import KfpArtifact, failures_end_the_process


def resolve(
    commit: str, versions: Mapping[str, str], *, pipeline: str, repository: str, revision: str
) -> None:
    """Finds the commit that a revision means, and which content it has of what the run reads.

    Args:
        commit: The file that takes the commit.
        versions: By data file's name, and `champion`: the file that takes its version, as JSON. A data file
            is told by its path, DVC's hash, and its source if it has one; the champion by its folder and the
            hash that Git has of it. Where there is no champion, nothing is told.
        pipeline: The pipeline's name.
        repository: Address of the repository.
        revision: A branch, a tag or a commit; the head of the default branch if empty.
    """
    with failures_end_the_process(), cloned(pipeline, repository, revision) as (root, settings, found):
        for name, path in versions.items():
            data = name != CHAMPION or name in settings.data
            version = _version(root, settings, name) if data else _champion_version(root, pipeline)
            files.write_text(Path(path), json.dumps(version))
        files.write_text(Path(commit), found)
        log(f"resolved {revision or 'the default branch'}: {found}")


def fetch(
    sha256: str,
    outputs: Mapping[str, KfpArtifact],
    *,
    pipeline: str,
    version: Mapping[str, Any],
    repository: str,
) -> None:
    """Fetches a version of a data file, or of the champion, from whatever commit has it.

    Args:
        sha256: The file that takes the hash of the content; empty where there is no champion.
        outputs: The artifact that receives the file; and for the champion, what else is known of it. Where
            there is none, these are empty files.
        pipeline: The pipeline's name.
        version: What `resolve` says of it.
        repository: Address of the repository.
    """
    with failures_end_the_process(), tempfile.TemporaryDirectory(prefix="nbship-") as folder:
        found: dict[str, Path | None] = {}
        root = Path(folder)
        if version:
            # That commit may be older than the pipeline, so nothing but the content is asked of it.
            root = _cloned_with(Path(folder, "repository"), version, repository)
            found = _bring_champion(root, pipeline) if "tree" in version else _bring(root, version)
        digests = {key: _hand_on(root, found.get(key), artifact) for key, artifact in outputs.items()}
        files.write_text(Path(sha256), digests[FILE])


@contextmanager
def cloned(pipeline: str, repository: str, revision: str) -> Iterator[tuple[Path, Pipeline, str]]:
    """Gives a clone of the project at a revision, the pipeline file in it, and its commit."""
    with tempfile.TemporaryDirectory(prefix="nbship-") as folder:
        whole = Path(folder, "repository")
        commit = clone(repository, revision, whole)
        root = find_project(whole, pipeline)
        yield root, load_pipeline(root, pipeline), commit


def log(line: str) -> None:
    """Writes a line for who reads the log of this step."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _version(root: Path, settings: Pipeline, name: str) -> dict[str, Any]:
    if name not in settings.data:
        raise UsageError(
            f"the pipeline file of this revision has no data file '{name}'",
            f"compile the pipeline as it is there: nbship compile {settings.name}",
        )
    path = root / settings.data[name].path
    tracked = dvc.read(path)
    if tracked is None:
        shown = path.relative_to(root)
        raise UsageError(
            f"data file '{name}': there is no {shown}.dvc at this revision", f"track it: dvc add {shown}"
        )
    source = settings.data[name].source
    return {
        "project": _place(root),
        "path": settings.data[name].path,
        "md5": tracked.md5,
        **({"source": source.model_dump(exclude_none=True)} if source else {}),
    }


def _champion_version(root: Path, pipeline: str) -> dict[str, Any]:
    folder, (tracking, _) = registry.model_folder(root, pipeline), registry.versioned_files(root, pipeline)
    if not tracking.exists():
        return {}
    path = folder.relative_to(root).as_posix()
    tree = git.output(root, "rev-parse", f"HEAD:./{path}").strip()
    return {"project": _place(root), "path": path, "tree": tree}


def _place(root: Path) -> str:
    """The project's folder as Git knows it, from the top of the repository."""
    return git.output(root, "rev-parse", "--show-prefix").strip()


def _cloned_with(folder: Path, version: Mapping[str, Any], repository: str) -> Path:
    """Clones the repository at a commit that has a version; returns the project's folder."""
    path = f"{version['project']}{version['path']}"

    def names_it(blob: str) -> bool:
        return version["md5"] in git.output(folder, "cat-file", "blob", blob)

    if "tree" in version:
        commit = clone_with(repository, path, lambda tree: tree == version["tree"], folder)
    else:
        tracking = dvc.tracking_file(Path(path)).as_posix()
        commit = clone_with(repository, tracking, names_it, folder)
    log(f"{path}: commit {commit} has this version")
    return folder / str(version["project"])


def _bring(root: Path, version: Mapping[str, Any]) -> dict[str, Path | None]:
    path = root / version["path"]
    if dvc.state(path) is not dvc.FileState.SAME:
        data = Data(path=version["path"], source=version.get("source"))
        dvc.pull(root, path, data.source, report=log)
    return {FILE: path}


def _bring_champion(root: Path, pipeline: str) -> dict[str, Path | None]:
    described = registry.model_folder(root, pipeline) / DESCRIPTION
    facts = (described if described.exists() else None, registry.trained_rows(root, pipeline, log))
    return {
        FILE: registry.champion(root, pipeline, log),
        **dict(zip(CHAMPION_FACTS, facts, strict=True)),
    }


def _hand_on(root: Path, path: Path | None, artifact: KfpArtifact) -> str:
    """Copies a file into an artifact, and says in its metadata which; returns its SHA-256."""
    target = Path(artifact.path)
    if path is None:
        files.write_bytes(target, b"")
        return ""
    files.copy(path, target)
    tracked, digest = dvc.read(path), files.content_hash(path)
    artifact.metadata |= {"path": path.relative_to(root).as_posix(), "sha256": digest}
    artifact.metadata |= {"md5": tracked.md5} if tracked else {}
    return digest
