"""Where a data file comes from when no DVC remote has it: the kinds of sources that a pipeline file may name.

A source says by its keys of which kind it is. What brings each is in `versions.sources`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag

from nbship.config.base import Model

_Text = Annotated[str, Field(min_length=1)]


class PackageSource(Model):
    """A file in a Python package."""

    package: _Text = Field(description="PyPI package that holds the file")
    version: _Text = Field(description="version of the package")
    file: _Text = Field(description="path inside the package")


class UrlSource(Model):
    """A file on the web."""

    url: _Text = Field(description="http or https address")


class FileSource(Model):
    """A file on this machine."""

    file: _Text = Field(description="path, absolute or from the project's folder")


class SqlSource(Model):
    """What a database answers."""

    sql: _Text = Field(description="query whose result is written as CSV")
    connection: _Text = Field(description="environment variable that holds the SQLAlchemy URL")


# By the key that tells the kind; in brackets as pydantic's `[key]`, for it gets into the place of an error.
SOURCE_KINDS: Mapping[str, type[Model]] = {
    "[package]": PackageSource,
    "[url]": UrlSource,
    "[file]": FileSource,
    "[sql]": SqlSource,
}


def _checked(value: Any) -> Any:
    """Leaves out keys without a value, by which an override takes away those of another kind."""
    if isinstance(value, Model):
        return value
    given = (
        {key: each for key, each in value.items() if each is not None} if isinstance(value, Mapping) else {}
    )
    if not _kind(given):
        raise ValueError("give package, version and file; or url; or file; or sql and connection")
    return given


def _kind(value: Any) -> str:
    """The kind whose telling key is given, with no key that only other kinds have; empty if there is none."""
    given = {key for kind in SOURCE_KINDS.values() for key in kind.model_fields if key in dict(value)}
    kinds = (name for name, kind in SOURCE_KINDS.items() if name[1:-1] in given <= kind.model_fields.keys())
    return next(kinds, "")


Source = Annotated[
    Annotated[PackageSource, Tag("[package]")]
    | Annotated[UrlSource, Tag("[url]")]
    | Annotated[FileSource, Tag("[file]")]
    | Annotated[SqlSource, Tag("[sql]")],
    Discriminator(_kind),
    BeforeValidator(_checked),
]
