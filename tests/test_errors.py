import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nbship.errors import ExitCode, InterruptedRun, NbshipError, RejectedError, UsageError, suggestion

NAMES = st.lists(st.from_regex(r"[a-z][a-z_]{3,11}", fullmatch=True), min_size=1, unique=True)


def test_every_kind_of_failure_ends_a_command_in_its_own_way():
    kinds = [NbshipError, UsageError, RejectedError, InterruptedRun]
    codes = [kind("what").exit_code for kind in kinds]
    assert (
        codes == [ExitCode.FAILED, ExitCode.USAGE, ExitCode.REJECTED, ExitCode.INTERRUPTED] == [1, 2, 3, 130]
    )


def test_an_error_says_what_and_what_to_do():
    error = NbshipError("the disk is full", "free some space", "12 kB left")
    assert (str(error), error.message, error.hint) == (
        "the disk is full",
        "the disk is full",
        "free some space",
    )
    assert error.details == "12 kB left"
    assert NbshipError("what").hint == NbshipError("what").details == ""


@given(NAMES, st.data())
def test_a_known_word_with_one_letter_too_much_is_suggested(names, data):
    name = data.draw(st.sampled_from(names))
    at = data.draw(st.integers(0, len(name)))
    typed = f"{name[:at]}x{name[at:]}"
    assume(typed not in names)
    near = suggestion(typed, names).removeprefix("did you mean '").removesuffix("'?")
    # Another name may be as near; it is never one that has less in common than the one that was meant.
    assert near in names
    assert near == name or len(names) > 1


def test_the_nearest_word_is_suggested():
    assert suggestion("test_fracton", ["seed", "test_fraction", "table"]) == "did you mean 'test_fraction'?"


@given(NAMES)
def test_where_nothing_is_near_all_are_listed_in_order(names):
    assert suggestion("0", names) == f"known are: {', '.join(sorted(names))}"


def test_where_nothing_is_known():
    assert suggestion("seed", []) == "there are none"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://AKIA:abc/def+g@models/cars cannot be read", "s3://models/cars cannot be read"),
        ("see https://token@git.example.org/x.git", "see https://git.example.org/x.git"),
        ("postgresql://ada:pw@db/x, https://a:b@c/d", "postgresql://db/x, https://c/d"),
        ("http://localhost:8080/a@b", "http://localhost:8080/a@b"),
        ("mail ada@example.org", "mail ada@example.org"),
        ("ssh://ada:p/w@host/x", "ssh://host/x"),
        ("azure://a:k/e+y==@box/x and gs://b", "azure://box/x and gs://b"),
        ("redis://:pw@db/0, git+https://token@host/x", "redis://db/0, git+https://host/x"),
        ("https://ada:p@ss@host/x", "https://host/x"),
        # A user alone is no secret where it is no token: a container of Azure's, an account.
        ("abfs://box@acme.dfs.core.windows.net/x", "abfs://box@acme.dfs.core.windows.net/x"),
        ("ssh://git@host:2222/x", "ssh://git@host:2222/x"),
        ("git@host:group/x.git", "git@host:group/x.git"),
        ("ssh://host:2222/home/ada@acme", "ssh://host:2222/home/ada@acme"),
        ("s3://bucket/a@b, hdfs://host:8020/c@d", "s3://bucket/a@b, hdfs://host:8020/c@d"),
        ("http://[::1]:80/a@b http://h:80?a=b@c", "http://[::1]:80/a@b http://h:80?a=b@c"),
    ],
)
def test_no_message_shows_credentials(text, shown):
    error = NbshipError(text, text, text)
    assert {str(error), error.message, error.hint, error.details} == {shown}
