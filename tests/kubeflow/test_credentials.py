import re
import secrets
import ssl
import sys
from html import escape
from pathlib import Path
from typing import get_args
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.config import AuthenticationMethod
from nbship.errors import NbshipError, UsageError
from nbship.kubeflow import client
from nbship.kubeflow.api import Connection, KubeflowError
from nbship.kubeflow.credentials import AUTHENTICATIONS, login
from nbship.kubeflow.server import Server, read_server
from tests.certificates import authority_and_certificate
from tests.kubeflow_server import KubeflowServer, serve

HOST = {"NBSHIP_KUBEFLOW_HOST": "https://kubeflow.example.org/pipeline/"}
SECRET = "correct-horse-battery-staple"  # noqa: S105


def headers(auth, **environment):
    given = {f"NBSHIP_KUBEFLOW_{name}": value for name, value in environment.items()}
    return dict(login(Server("https://kubeflow.example.org", auth=auth), given)())


# Settings.


def test_settings_from_the_environment(tmp_path):
    (tmp_path / "ca.pem").touch()
    settings = {"NAMESPACE": "ada", "AUTH": "token", "CA": str(tmp_path / "ca.pem"), "TIMEOUT": "5"}
    server = read_server(HOST | {f"NBSHIP_KUBEFLOW_{name}": value for name, value in settings.items()})
    assert server == Server(
        "https://kubeflow.example.org/pipeline", "ada", "token", str(tmp_path / "ca.pem"), timeout=5
    )
    assert server.run_link("1") == "https://kubeflow.example.org/pipeline/#/runs/details/1"


def test_the_environment_goes_over_what_is_written():
    written = {"host": "https://elsewhere.example.org", "namespace": "ada", "auth": "cookie"}
    server = read_server(HOST | {"NBSHIP_KUBEFLOW_AUTH": "token"}, written)
    assert (server.host, server.namespace, server.auth) == (
        "https://kubeflow.example.org/pipeline",
        "ada",
        "token",
    )


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"host": "kubeflow.example.org"}, "kubeflow.host: 'kubeflow.example.org' is not a web address"),
        ({"host": HOST["NBSHIP_KUBEFLOW_HOST"], "ca": "gone.pem"}, "kubeflow.ca: there is no file gone.pem"),
    ],
)
def test_what_is_written_wrongly_is_named_by_its_key(written, message):
    with pytest.raises(UsageError, match=f"^{message}$"):
        read_server({}, written)


def test_the_pages_may_be_elsewhere():
    server = read_server(HOST | {"NBSHIP_KUBEFLOW_UI": "https://ui.example.org/"})
    assert server.run_link("1") == "https://ui.example.org/#/runs/details/1"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HOST", "", "no Kubeflow server is named"),
        ("HOST", "kubeflow.example.org", "is not a web address"),
        ("HOST", "ftp://kubeflow.example.org", "is not a web address"),
        ("HOST", f"https://ada:{SECRET}@kubeflow.example.org", "without user, password"),
        ("HOST", f"ada:{SECRET}@kubeflow.example.org", "is not a web address"),
        ("HOST", f"https://kubeflow.example.org/?token={SECRET}", "without user, password"),
        ("AUTH", "tokn", "unknown authentication method 'tokn'"),
        ("CA", "no-such-file", "there is no file"),
        ("TIMEOUT", "soon", "is not a number of seconds"),
        ("TIMEOUT", "-1", "is not a number of seconds"),
        ("TIMEOUT", "inf", "is not a number of seconds"),
    ],
)
def test_settings_that_are_not_understood(name, value, message):
    with pytest.raises(UsageError, match=message) as failed:
        read_server(HOST | {f"NBSHIP_KUBEFLOW_{name}": value})
    assert SECRET not in f"{failed.value.message}{failed.value.hint}"


# Methods without a login page.


def test_none():
    assert headers("none", TOKEN=SECRET) == {}


def test_a_token(tmp_path):
    (tmp_path / "token").write_text(f"{SECRET}\n")
    expected = {"Authorization": f"Bearer {SECRET}"}
    assert headers("token", TOKEN=SECRET) == expected
    assert headers("token", TOKEN_FILE=str(tmp_path / "token")) == expected


def test_a_projected_token_is_read_anew(tmp_path):
    path = tmp_path / "token"
    path.write_text("first")
    server = Server("https://kubeflow.example.org", auth="service-account")
    sign_in = login(server, {"KF_PIPELINES_SA_TOKEN_PATH": str(path)})
    assert sign_in() == {"Authorization": "Bearer first"}
    path.write_text("second")
    assert sign_in() == {"Authorization": "Bearer second"}


def test_a_projected_token_that_is_not_mounted():
    with pytest.raises(NbshipError, match=r"kubeflow/pipelines/token: No such file"):
        headers("service-account")


def test_a_cookie():
    assert headers("cookie", COOKIE="a=1; b=2") == {"Cookie": "a=1; b=2"}


def test_a_command():
    command = f"{sys.executable} -c 'import os; print(os.environ[\"NBSHIP_KUBEFLOW_WORD\"])'"
    assert headers("command", COMMAND=command, WORD=SECRET) == {"Authorization": f"Bearer {SECRET}"}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "COMMAND is not set"),
        (" ", "COMMAND is not set"),
        ("print 'a token", "COMMAND: a quotation mark is not closed"),
        ("''", "COMMAND: : "),
        ("no-such-program", "no-such-program: No such file"),
        (f"{sys.executable} -c 'print(\"{SECRET}\"); exit(3)'", "failed with exit code 3"),
        (f"{sys.executable} -c pass", "the token for Kubeflow is empty"),
        (f"{sys.executable} -c 'print(\"{SECRET}\"); print(1)'", "not one line of plain characters"),
    ],
)
def test_a_command_that_fails(command, message):
    with pytest.raises(NbshipError, match=message) as failed:
        headers("command", COMMAND=command)
    assert SECRET not in f"{failed.value.message}{failed.value.hint}{failed.value.details}"


@pytest.mark.parametrize("auth", ["token", "cookie", "dex", "command"])
def test_what_a_method_needs_is_asked_for(auth):
    with pytest.raises(UsageError, match="is not set"):
        headers(auth)


@given(st.text())
def test_no_secret_breaks_a_header_or_is_shown(text):
    try:
        (value,) = headers("token", TOKEN=text or "x").values()
    except NbshipError as error:
        assert len(text.strip()) < 12 or text not in f"{error.message}{error.hint}"
    else:
        assert value.isascii()
        assert value.isprintable()


def test_a_file_that_holds_no_secret(tmp_path):
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(NbshipError, match="not a text file"):
        headers("token", TOKEN_FILE=str(tmp_path / "token"))
    with pytest.raises(NbshipError, match="Is a directory"):
        headers("token", TOKEN_FILE=str(tmp_path))


def test_a_record_of_the_server_holds_no_secret():
    environment = HOST | {"NBSHIP_KUBEFLOW_TOKEN": SECRET, "NBSHIP_KUBEFLOW_AUTH": "token"}
    server = read_server(environment)
    sign_in = login(server, environment)
    assert SECRET not in f"{server}{sign_in}{vars(Connection(server, sign_in))}"


def test_every_authentication_method_of_the_pipeline_file_is_there():
    assert set(AUTHENTICATIONS) == set(get_args(AuthenticationMethod))


def test_the_guide_says_what_each_method_needs():
    guide = (Path(__file__).parents[2] / "docs/kubeflow-api.md").read_text()
    rows = dict(re.findall(r"(?m)^\| `([a-z-]+)` \|([^|]*)\|", guide))
    for name, method in AUTHENTICATIONS.items():
        assert set(re.findall("`([A-Z]+)`", rows[name])) == set(method.needs)


# Dex, as it is met behind Kubeflow's gateway.


class Gateway:
    """Dex with a static password, behind oauth2-proxy or authservice; every page has a secret of its own."""

    def __init__(self, *, proxy="oauth2-proxy", connectors=1, approval=True, forbids=False, elsewhere=""):
        self.proxy, self.connectors, self.approval = proxy, connectors, approval
        self.forbids, self.elsewhere = forbids, elsewhere
        self.cookie = f"{secrets.token_hex(8)}"
        self.codes = {page: secrets.token_hex(8) for page in ("start", "login", "approval", "callback")}

    def __call__(self, handler):
        """Answers, unless the request is signed in."""
        sent = handler.headers.get("Cookie", "")
        if f"session={self.cookie}" in sent and f"session_more={self.cookie}" in sent:
            return False
        query = {key: values[0] for key, values in parse_qs(handler.url.query).items()}
        form = {key: values[0] for key, values in parse_qs(handler.body.decode()).items()}
        page = getattr(self, "_" + re.sub(r"[/\d]+", "_", handler.url.path).strip("_"), self._anything)
        page(handler, query, form)
        return True

    def _redirect(self, handler, location, *cookies):
        handler.send_response(302)
        for cookie in cookies:
            handler.send_header("Set-Cookie", f"{cookie}; Path=/; HttpOnly")
        handler.send_header("Location", location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def _page(self, handler, body, status=200):
        handler.send(status, f"<html><body>{body}</body></html>", Content_Type="text/html")

    def _form(self, action, method="post", **fields):
        inputs = "".join(f'<input type="hidden" name="{k}" value="{escape(v)}"/>' for k, v in fields.items())
        return f'<form method="{method}"{f" action={action!r}" if action else ""}>{inputs}<button/></form>'

    def _anything(self, handler, query, form):
        if self.forbids:
            self._page(handler, "Sign in", 403)
        elif self.proxy == "oauth2-proxy":
            self._page(handler, self._form("/oauth2/start", "GET", rd="/"), 403)
        else:
            self._start(handler)

    def _oauth_start(self, handler, query, form):
        assert query["rd"] == "/"
        self._start(handler)

    def _start(self, handler):
        self._redirect(handler, f"/dex/auth?state={self.codes['start']}", f"csrf={self.codes['start']}")

    def _dex_auth(self, handler, query, form):
        assert query["state"] == self.codes["start"]
        local = f"/dex/auth/local?state={self.codes['start']}&amp;more=1"
        if self.connectors == 1:
            self._redirect(handler, local.replace("&amp;", "&"))
        else:
            self._page(handler, f'<a href="/dex/auth/ldap?state=1">LDAP</a><a href="{local}">Email</a>')

    def _dex_auth_local(self, handler, query, form):
        assert query["state"] == self.codes["start"]
        self._login(handler)

    def _login(self, handler, status=200):
        fields = f'<input type="hidden" name="csrf_token" value="{self.codes["login"]}&amp;"/>'
        fields += '<input type="text" name="login"/><input type="password" name="password"/>'
        action = f"{self.elsewhere}/dex/auth/local/login?back=&amp;state=1"
        self._page(handler, f'<form method="post" action="{action}">{fields}</form>', status)

    def _dex_auth_local_login(self, handler, query, form):
        assert query["state"] == "1"
        assert form["csrf_token"] == self.codes["login"] + "&"
        assert f"csrf={self.codes['start']}" in handler.headers["Cookie"]
        if (form["login"], form["password"]) != ("ada@example.org", SECRET):
            self._login(handler, 401)
        elif self.approval:
            self._redirect(handler, f"/dex/approval?req=1&hmac={self.codes['approval']}")
        else:
            self._redirect(handler, f"/oauth2/callback?code={self.codes['callback']}")

    def _dex_approval(self, handler, query, form):
        assert query["hmac"] == self.codes["approval"]
        if handler.command == "GET":
            forms = [self._form("", req="1", approval=word) for word in ("rejected", "approve")]
            self._page(handler, "".join(forms))
        else:
            assert (form["req"], form["approval"]) == ("1", "approve")
            self._redirect(handler, f"/oauth2/callback?code={self.codes['callback']}")

    def _oauth_callback(self, handler, query, form):
        assert query["code"] == self.codes["callback"]
        cookies = (f"session={self.cookie}", f"session_more={self.cookie}")
        self._redirect(handler, "/", *cookies)


def dex(server, password=SECRET, **settings):
    environment = {"NBSHIP_KUBEFLOW_USERNAME": "ada@example.org", "NBSHIP_KUBEFLOW_PASSWORD": password}
    found = Server(server.address, auth="dex", timeout=5, backoff=0, **settings)
    return Connection(found, login(found, environment))


GATEWAYS = [
    {},
    {"approval": False},
    {"connectors": 2},
    {"proxy": "authservice"},
    {"forbids": True},
]


@pytest.mark.parametrize("settings", GATEWAYS, ids=str)
def test_dex(settings):
    with serve(KubeflowServer(front=Gateway(**settings))) as server:
        assert list(client.list_runs(dex(server))) == []


def test_dex_again_when_the_session_is_over():
    gateway = Gateway()
    with serve(KubeflowServer(front=gateway)) as server:
        connection = dex(server)
        list(client.list_runs(connection))
        gateway.cookie = "another"
        gateway.proxy = "authservice"
        assert list(client.list_runs(connection)) == []


def test_dex_with_a_wrong_password():
    with serve(KubeflowServer(front=Gateway())) as server:
        with pytest.raises(NbshipError, match="refuses the name and password") as failed:
            list(client.list_runs(dex(server, "wrong-password-1")))
        assert "wrong-password-1" not in f"{failed.value.message}{failed.value.hint}"
        assert len(server.lines("POST")) == 1


def test_dex_does_not_send_a_password_in_the_clear(tmp_path):
    authority, certificate = authority_and_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    gateway = Gateway(elsewhere="http://localhost:9")
    with (
        serve(KubeflowServer(front=gateway), context) as server,
        pytest.raises(NbshipError, match="without TLS"),
    ):
        list(client.list_runs(dex(server, ca=str(authority))))


def test_dex_where_nothing_asks_for_a_login():
    with serve(KubeflowServer()) as server, pytest.raises(NbshipError, match="no login was asked for"):
        list(client.list_runs(dex(server)))


def test_dex_that_cannot_be_reached():
    with pytest.raises(NbshipError, match="logging in failed: ConnectionError"):
        list(client.list_runs(dex(KubeflowServer(address="http://127.0.0.1:9"))))


def test_without_a_login_the_gateway_is_named():
    with serve(KubeflowServer(front=Gateway(proxy="authservice"))) as server:
        with pytest.raises(KubeflowError, match="redirects to /dex/auth") as failed:
            list(client.list_runs(Connection(Server(server.address, backoff=0), dict)))
        assert "NBSHIP_KUBEFLOW_AUTH" in failed.value.hint
