"""Logs in to a Kubeflow behind Dex with a name and a password, as a browser does, and returns its cookies.

Follows the pages as they come rather than a list of addresses: redirects of oauth2-proxy and authservice, the
choice of a connector, the login form and the approval screen, each with whatever hidden fields it carries, so
that CSRF tokens and new releases need nothing here. Knows no other identity provider.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

from nbship.errors import NbshipError
from nbship.kubeflow.server import PREFIX, Server

# Sign-in page, connectors, login, approval, and as many again for what a company adds.
_MOST_PAGES = 8
_SIGN_IN = "/oauth2/start"
_LOCAL = "/auth/local"
_CHECK_BY_HAND = (
    "open the address in a browser; for another identity provider use the method cookie or command"
)


@dataclass
class _Form:
    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    text: str = ""
    password: str = ""


class _Page(HTMLParser):
    """The forms and links of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[_Form] = []
        self.links: list[str] = []
        self._open = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(_Form(given.get("action", ""), given.get("method", "get").lower()))
            self._open = True
        elif tag == "a":
            self.links.append(given.get("href", ""))
        elif tag == "input" and self._open and given.get("name"):
            self._add(
                self.forms[-1], given["name"], given.get("type", "text").lower(), given.get("value", "")
            )

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag != "form"

    def _add(self, form: _Form, name: str, kind: str, value: str) -> None:
        if kind == "password":
            form.password = name
        elif kind in ("text", "email"):
            form.text = form.text or name
        elif kind == "hidden":
            form.fields[name] = value


def session_cookie(server: Server, username: str, password: str) -> str:
    """Logs in.

    Returns:
        The value of a `Cookie` header that the server accepts.

    Raises:
        NbshipError: The server cannot be reached, refuses the name and password, or shows an unknown page.
    """
    import requests  # type: ignore[import-untyped]

    with requests.Session() as session:
        session.headers["Accept"] = "text/html"
        try:
            _log_in(session, server, username, password)
        except requests.RequestException as error:
            raise NbshipError(
                f"{server.host}: logging in failed: {type(error).__name__}",
                f"check the network, {PREFIX}HOST and {PREFIX}CA",
            ) from None
        request = requests.Request("GET", f"{server.host}/apis/v2beta1/healthz").prepare()
        cookie = requests.cookies.get_cookie_header(session.cookies, request)
    if not cookie:
        raise NbshipError(
            f"{server.host}: no login was asked for, and no cookie given", f"set {PREFIX}AUTH=none"
        )
    return str(cookie)


def _log_in(session: Any, server: Server, username: str, password: str) -> None:
    """Answers page after page until one asks for nothing more."""
    answer = _send(session, _Form(f"{server.host}/", "get"), "", server)
    given = False
    for _ in range(_MOST_PAGES):
        page = _Page(answer.text)
        login = next((form for form in page.forms if form.password), None)
        if login and given:
            raise NbshipError(
                f"{_origin(answer.url)} refuses the name and password",
                f"check {PREFIX}USERNAME and {PREFIX}PASSWORD",
            )
        if login:
            _check_safe(server, urljoin(answer.url, login.action))
            login.fields |= {login.text or "login": username, login.password: password}
            given = True
        step = login or next(_next_forms(page, answer), None)
        if step is None:
            _check_arrived(answer, server)
            return
        answer = _send(session, step, answer.url, server)
    raise NbshipError(f"{_origin(answer.url)}: the login pages lead back to each other", _CHECK_BY_HAND)


def _next_forms(page: _Page, answer: Any) -> Iterator[_Form]:
    """What a page that is no login form lets one do, best first."""
    yield from (form for form in page.forms if form.fields.get("approval") == "approve")
    yield from (form for form in page.forms if urlsplit(form.action).path.endswith(_SIGN_IN))
    yield from (_Form(link, "get") for link in page.links if _LOCAL in urlsplit(link).path)
    if answer.status_code in (401, 403) and not urlsplit(answer.url).path.startswith("/oauth2/"):
        yield _Form(_SIGN_IN, "get", {"rd": urlsplit(answer.url).path})


def _send(session: Any, form: _Form, page: str, server: Server) -> Any:
    """Sends a form, or follows a link, of a page."""
    post = form.method == "post"
    return session.request(
        form.method,
        urljoin(page, form.action),
        params=None if post else form.fields,
        data=form.fields if post else None,
        timeout=server.timeout,
        # Given with each request, because the session's gives way to REQUESTS_CA_BUNDLE.
        **({"verify": server.ca} if server.ca else {}),
    )


def _check_safe(server: Server, address: str) -> None:
    """A password that is asked for over TLS is not sent without."""
    if server.host.startswith("https:") and not address.startswith("https:"):
        raise NbshipError(f"{_origin(address)} asks for the password without TLS", _CHECK_BY_HAND)


def _check_arrived(answer: Any, server: Server) -> None:
    if answer.status_code >= 500:
        raise NbshipError(
            f"{_origin(answer.url)} answers {answer.status_code} to the login", "try again later"
        )
    if urlsplit(answer.url).netloc != urlsplit(server.host).netloc or "/auth" in urlsplit(answer.url).path:
        raise NbshipError(f"{_origin(answer.url)}: the login ends at a page without a form", _CHECK_BY_HAND)


def _origin(address: str) -> str:
    """An address without its query, which carries codes."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
