"""One request to the Kubeflow Pipelines API: authenticated, with a time limit, repeated where that is safe.

Built on `kfp_server_api`, the client that KFP generates from its API and that `kfp.Client` wraps. The wrapper
itself cannot be used: it waits for an answer without limit, follows a redirect to a login page and takes that
page for an answer, prints on standard output, and reads and writes files in the user's home. What a request
means is the business of `client`.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import kfp_server_api  # type: ignore[import-untyped]
import urllib3
from kfp_server_api.exceptions import ApiException  # type: ignore[import-untyped]
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from nbship.errors import NbshipError
from nbship.kubeflow.credentials import Headers, Login
from nbship.kubeflow.server import PREFIX, Server

T = TypeVar("T")

_CONNECT_SECONDS = 10.0
_REPETITIONS = 4
_LONGEST_PAUSE = 60
_LONGEST_MESSAGE = 300
_SHORTEST_SECRET = 8
_CHUNK = 65536
_REDIRECTS = range(300, 400)
_NO_ANSWER, _OK = 0, 200
_BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _TOO_MANY = 400, 401, 403, 404, 409, 429
_GATEWAY_TIMEOUT = 504


class KubeflowError(NbshipError):
    """A request that failed.

    Attributes:
        status: The HTTP status; 0 if there was no whole answer.
        pause: Seconds after which the server wants to be asked again; 0 if it did not say.
        under_way: Whether the server may still be at work on the request.
    """

    def __init__(
        self, message: str, hint: str, status: int = _NO_ANSWER, pause: float = 0, under_way: bool = False
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        self.pause = pause
        self.under_way = under_way

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in (_NO_ANSWER, _TOO_MANY) or self.status >= 500

    @property
    def missing(self) -> bool:
        """Whether what was asked for is not there."""
        return self.status == _NOT_FOUND

    @property
    def conflict(self) -> bool:
        """Whether something else has the name that was asked for."""
        return self.status == _CONFLICT


class Connection:
    """A server; authenticates with the first request, and again when the server no longer accepts that."""

    def __init__(self, server: Server, login: Login) -> None:
        self.server = server
        self._login = login
        self._client = kfp_server_api.ApiClient(_configuration(server))
        self._headers: Headers | None = None
        self.experiments = kfp_server_api.ExperimentServiceApi(self._client)
        self.pipelines = kfp_server_api.PipelineServiceApi(self._client)
        self.uploads = kfp_server_api.PipelineUploadServiceApi(self._client)
        self.runs = kfp_server_api.RunServiceApi(self._client)
        self.recurring_runs = kfp_server_api.RecurringRunServiceApi(self._client)

    def call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Calls a method of one of the services.

        A request that changes nothing is repeated when the server is busy, fails or cannot be reached; any
        other only if it never arrived.

        Raises:
            ApiError: It failed; says why and what to do.
            NbshipError: The credentials cannot be had.
        """
        return self._signed_in(lambda: self._try(method, *arguments, **options))

    def read(self, address: str, query: Mapping[str, str], limit: int) -> str:
        """Returns the text at an address of the server; asked for once, since nothing depends on it.

        Args:
            address: Below the server's, or below that of its pages.
            query: Its parameters.
            limit: Bytes after which no more is read.

        Raises:
            ApiError: There is none.
            NbshipError: The credentials cannot be had.
        """
        return self._signed_in(lambda: self._read(address, query, limit))

    def create(self, make: Callable[[], T], find: Callable[[], T | None]) -> T:
        """Creates something that must not be there twice.

        When it is not certain that a request failed, what it should have made is looked for before it is
        repeated; and a request that may still be under way is not repeated at all.

        Args:
            make: Creates it.
            find: Returns it if it is there.

        Raises:
            ApiError: It could not be created, or nobody knows whether it was.
        """
        for repetition in range(_REPETITIONS + 1):
            try:
                return make()
            except KubeflowError as error:
                if not error.passing and not error.conflict:
                    raise
                last = error
            pause = min(max(last.pause, self.server.backoff * 2**repetition), _LONGEST_PAUSE)
            found = self._look(find, pause, _REPETITIONS if last.under_way else 1)
            if found is not None:
                return found
            if last.under_way or last.conflict:
                break
        raise last

    def _look(self, find: Callable[[], T | None], pause: float, times: int) -> T | None:
        for _ in range(times):
            time.sleep(pause)
            found = find()
            if found is not None:
                return found
            pause *= 2
        return None

    def _signed_in(self, request: Callable[[], T]) -> T:
        if self._headers is None:
            self._sign_in()
        try:
            return request()
        except KubeflowError as error:
            if error.status != _UNAUTHORIZED and error.status not in _REDIRECTS:
                raise
        self._sign_in()
        return request()

    def _sign_in(self) -> None:
        self._headers = self._login()
        for name, value in self._headers.items():
            self._client.set_default_header(name, value)

    def _try(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        host = self.server.host
        try:
            answer = method(*arguments, **options, _request_timeout=(_CONNECT_SECONDS, self.server.timeout))
            if not isinstance(json.loads(self._client.last_response.data), dict):
                raise ValueError
        except ApiException as error:
            raise self._refused(int(error.status), error.headers or {}, error.body) from None
        except HTTPError as error:
            raise _unanswered(self.server, error) from None
        except (ValueError, TypeError, AttributeError):
            # The generated client builds its objects of whatever comes.
            raise KubeflowError(
                f"{host}: the answer is not the Kubeflow Pipelines API's, but a login page or the like",
                f"check {PREFIX}HOST (a full Kubeflow's ends in /pipeline) and {PREFIX}AUTH",
                _BAD_REQUEST,
            ) from None
        return answer

    def _read(self, address: str, query: Mapping[str, str], limit: int) -> str:
        until = time.monotonic() + self.server.timeout
        content = b""
        try:
            answer = self._client.rest_client.pool_manager.request(
                "GET",
                address,
                fields=query,
                headers=dict(self._client.default_headers),
                preload_content=False,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=self.server.timeout),
            )
            # What arrives in drops is read no longer than any answer is waited for.
            while len(content) < limit and time.monotonic() < until and (part := answer.read1(_CHUNK)):
                content += part
            answer.close()
        except HTTPError as error:
            raise _unanswered(self.server, error) from None
        if answer.status != _OK:
            raise self._refused(answer.status, answer.headers, content)
        return content.decode("utf-8", "replace")

    def _refused(self, status: int, headers: Mapping[str, str], body: Any) -> KubeflowError:
        said = self._without_secrets(_message(body))
        message, hint = _explained(self.server, status, said, headers.get("Location", ""))
        pause = _pause(headers.get("Retry-After"))
        return KubeflowError(message, hint, status, pause, under_way=status == _GATEWAY_TIMEOUT)

    def _without_secrets(self, text: str) -> str:
        """A server may repeat what it was sent, whole or in part."""
        secrets = {part for value in (self._headers or {}).values() for part in re.split(r"[;=\s]+", value)}
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= _SHORTEST_SECRET:
                text = text.replace(secret, "…")
        return text


def _configuration(server: Server) -> Any:
    configuration = kfp_server_api.Configuration(host=server.host)
    # A repetition is no news to a person; the error is, if they all fail.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    configuration.ssl_ca_cert = server.ca or None
    configuration.retries = urllib3.Retry(
        total=None,
        connect=_REPETITIONS,
        read=_REPETITIONS,
        status=_REPETITIONS,
        other=0,
        redirect=False,
        allowed_methods=("GET", "DELETE"),
        status_forcelist=(_TOO_MANY, 500, 502, 503, _GATEWAY_TIMEOUT),
        backoff_factor=server.backoff,
        backoff_jitter=server.backoff,
        retry_after_max=_LONGEST_PAUSE,
        raise_on_status=False,
    )
    address = urlsplit(server.host)
    if not proxy_bypass(address.hostname or ""):
        configuration.proxy = getproxies().get(address.scheme)
    return configuration


def _explained(server: Server, status: int, said: str, location: str) -> tuple[str, str]:
    """What a status means to a person, and what to do about it."""
    host, tail = server.host, f": {said}" if said else ""
    if status in _REDIRECTS:
        parts = urlsplit(location)
        there = f"{parts.scheme}://{parts.netloc}{parts.path}" if parts.netloc else parts.path
        return (
            f"{host} redirects to {there}, most likely a login page (auth: {server.auth})",
            f"set {PREFIX}AUTH and what it needs; or {PREFIX}HOST, if it moved there",
        )
    if status == _UNAUTHORIZED:
        return (
            f"{host}: authentication failed (401, auth: {server.auth}){tail}",
            f"the credentials are wrong or expired; check {PREFIX}AUTH and what it needs",
        )
    if status == _FORBIDDEN:
        return (
            f"{host}: permission denied (403){tail}",
            f"check {PREFIX}NAMESPACE ({server.namespace or 'not set'}), and the role there",
        )
    if status == _NOT_FOUND:
        return (
            f"{host}: not found (404){tail}",
            f"check {PREFIX}HOST: a full Kubeflow's ends in /pipeline",
        )
    if status == _TOO_MANY:
        return f"{host}: too many requests (429){tail}", "try again later"
    if status >= 500:
        return f"{host}: server error ({status}){tail}", "try again later; the log of ml-pipeline says more"
    if "namespace" in said.lower():
        return f"{host}: request refused ({status}){tail}", f"check {PREFIX}NAMESPACE"
    return f"{host}: request refused ({status}){tail}", "correct what it names"


def _unanswered(server: Server, error: HTTPError) -> KubeflowError:
    """What went wrong where there was no whole answer."""
    reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    host, check = server.host, f"check the network and {PREFIX}HOST"
    if isinstance(reason, SSLError):
        text = str(reason).partition("] ")[2] or str(reason)
        hint = f"set {PREFIX}CA to the file with your authority's certificates"
        return KubeflowError(f"{host}: TLS failed: {text.partition(' (_ssl')[0]}", hint)
    if isinstance(reason, NameResolutionError):
        return KubeflowError(f"{host}: the host name cannot be resolved", check)
    if isinstance(reason, NewConnectionError | ConnectTimeoutError):
        return KubeflowError(f"{host}: no connection", check)
    if isinstance(reason, ReadTimeoutError):
        return KubeflowError(
            f"{host}: no answer within {server.timeout:g} s",
            f"a request that starts something may still do so, so look first: nbship runs --remote; "
            f"or set {PREFIX}TIMEOUT",
            under_way=True,
        )
    return KubeflowError(f"{host}: the connection was closed before the answer was complete", check)


def _message(body: Any) -> str:
    """The server's own words in one line; a page is none."""
    try:
        content = json.loads(body)
    except (TypeError, ValueError):
        return ""
    if not isinstance(content, dict):
        return ""
    words = (content.get(key) for key in ("message", "error", "error_message", "error_details"))
    text = " ".join(next((word for word in words if isinstance(word, str) and word), "").split())
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 1] + "…"


def _pause(retry_after: str | None) -> float:
    try:
        return urllib3.Retry(retry_after_max=_LONGEST_PAUSE).parse_retry_after(retry_after or "0")
    except HTTPError:
        return 0
