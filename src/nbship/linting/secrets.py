"""Secrets in cells: by the forms that services give their keys, and by the names that people give theirs.

No value leaves this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nbship.linting.cells import Source
from nbship.linting.finding import LintFinding

_FORMS = {
    "an AWS access key": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitLab token": r"\bgl(pat|ptt|dt|rt|cbt|ft|oas|agent|soat)-[\w-]{20,}",
    "a GitHub token": r"\b(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,})",
    "a Slack token": r"\bxox[abposr]-[\w-]{10,}",
    "a Google API key": r"\bAIza[\w-]{35}\b",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "an API key": r"\bsk-(?=[\w-]*[0-9])((proj|svcacct|ant|or|lf|admin)-|(?=[\w-]*[A-Z]))[\w-]{20,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a JSON web token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    "a password in an address": r"\b[a-z][a-z0-9+.-]*://[^\s/:@'\"{}$<>]+:[^\s/@'\"{}$<>*]{3,}@",
}
_FORM = {what: re.compile(pattern) for what, pattern in _FORMS.items()}
_NAMED = re.compile(
    r"""(?<![A-Za-z])(?P<name>\w*(?:password|passwd|passphrase|secret|api_?key|access_?key|auth_?token|token))['"]?\]?
    \s*(?::\s*\w+\s*)?(?:=|:)\s*[rbuf]{0,2}(?P<quote>['"])(?P<value>[^'"\n]{6,})(?P=quote)""",
    re.IGNORECASE | re.VERBOSE,
)
# What stands for a secret: a placeholder, the name of a variable or of a file, words.
_PLACEHOLDER = re.compile(
    r"^(x+|\*+|\.+|-+|_+|<.*|.*>|\{.*|\$.*|.*\s.*|your.*|my[-_].*|change.?me|example.*|dummy.*|secret|password|token|"
    r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+|.*\.(txt|json|ya?ml|pem|key|env)|/.*|https?://[^@]*)$",
    re.IGNORECASE,
)
_MIXED = re.compile(r"(?=.*[A-Za-z])(?=.*[0-9\W_])")


def secrets(notebook: Source) -> Iterator[LintFinding]:
    """Finds secrets in the text of cells, and in what they show."""
    for cell in notebook.cells:
        told: set[int] = set()
        for number, line in enumerate(cell.source.splitlines(), start=1):
            what = _kind_of_secret(line, named=cell.kind == "code")
            if what and number not in told:
                told.add(number)
                yield LintFinding(notebook.name, cell.number, number, "secret", f"this looks like {what}")
        outputs = cell.content.get("outputs") or []
        shown = next((what for text in _texts(outputs) if (what := _kind_of_secret(text, named=False))), "")
        if shown:
            yield LintFinding(
                notebook.name, cell.number, 0, "secret", f"the output looks like it holds {shown}"
            )


def _kind_of_secret(text: str, named: bool) -> str:
    for what, form in _FORM.items():
        if form.search(text):
            return what
    for found in _NAMED.finditer(text) if named else ():
        value = found["value"]
        if not _PLACEHOLDER.match(value) and (
            _MIXED.match(value) or found["name"].lower().endswith("password")
        ):
            return f"a secret in '{found['name']}'"
    return ""


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value[:100_000]
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not str(key).startswith("image/"):
                yield from _texts(item)
