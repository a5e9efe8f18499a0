import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.errors import NbshipError, UsageError
from nbship.kubeflow import client
from nbship.workflow import schedule as workflow
from nbship.workflow.compile import compile_pipeline
from nbship.workflow.schedule import cron_fields
from nbship.workflow.submit import SubmitRequest, connect
from tests.kubeflow_rules import check_cron
from tests.kubeflow_server import Fault, KubeflowServer, serve
from tests.projects import write_project


@pytest.fixture
def server():
    with serve(KubeflowServer()) as running:
        yield running


@pytest.fixture
def connection(server):
    return connect({"NBSHIP_KUBEFLOW_HOST": server.address})


@pytest.fixture
def root(tmp_path):
    write_project(tmp_path)
    compile_pipeline(tmp_path, "line").write()
    return tmp_path


def scheduled(connection, root, cron="0 3 * * 1", *settings):
    request = SubmitRequest("line", settings=settings, experiment="main")
    return workflow.schedule(connection, root, request, cron, {})


def test_created_once(server, connection, root):
    first, second = scheduled(connection, root), scheduled(connection, root)
    assert (first.done, second.done) == ("created", "unchanged")
    assert first.schedule == second.schedule
    (found,) = server.schedules.values()
    assert found["display_name"] == "line"
    assert found["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert (found["mode"], found["max_concurrency"], found["no_catchup"]) == ("ENABLE", "1", True)


@pytest.mark.parametrize("account", ["", "pipeline-runner", "nbship-runs"])
def test_the_account_that_the_server_tells_is_no_change(connection, root, account):
    named = f"kubeflow: {{service_account: {account}, " if account else "kubeflow: {"
    path = root / "pipelines/line.yaml"
    path.write_text(path.read_text().replace("kubeflow: {", named))
    assert [scheduled(connection, root).done for _ in range(2)] == ["created", "unchanged"]


def test_another_account_is_a_change(server, connection, root):
    scheduled(connection, root)
    path = root / "pipelines/line.yaml"
    path.write_text(path.read_text().replace("kubeflow: {", "kubeflow: {service_account: nbship-runs, "))
    assert scheduled(connection, root).done == "updated"
    (found,) = server.schedules.values()
    assert found["service_account"] == "nbship-runs"


@pytest.mark.parametrize(
    "change", [("0 4 * * 1",), ("0 3 * * 1", "prepare.most=2"), ("0 3 * * 1", "prepare.note=a=b")]
)
def test_updated(server, connection, root, change):
    scheduled(connection, root)
    result = scheduled(connection, root, *change)
    assert result.done == "updated"
    assert list(server.schedules) == [result.schedule.id]


def test_a_new_version_takes_the_place_of_the_old(server, connection, root):
    old = scheduled(connection, root).schedule
    path = root / "pipelines/line.yaml"
    path.write_text(path.read_text().replace("most: 4", "most: 5"))
    compile_pipeline(root, "line").write()
    new = scheduled(connection, root)
    assert new.done == "updated"
    assert new.schedule.version_id != old.version_id
    assert list(server.schedules) == [new.schedule.id]


def test_one_that_is_paused_stays_so(server, connection, root):
    scheduled(connection, root)
    workflow.pause(connection, root, "line")
    assert not scheduled(connection, root).schedule.enabled
    assert not scheduled(connection, root, "0 4 * * 1").schedule.enabled
    assert not workflow.schedules(connection, root)[0].enabled
    workflow.resume(connection, root, "line")
    assert workflow.schedules(connection, root, "line")[0].enabled


def test_what_was_cut_off_is_finished_by_a_repetition(server, connection, root):
    scheduled(connection, root)
    server.faults.append(Fault("DELETE", status=403))
    with pytest.raises(NbshipError, match="permission denied"):
        scheduled(connection, root, "0 4 * * 1")
    assert len(server.schedules) == 2
    assert scheduled(connection, root, "0 4 * * 1").done == "updated"
    (left,) = workflow.schedules(connection, root)
    assert left.cron == "0 0 4 * * 1"


def test_the_old_one_stays_if_the_new_one_is_refused(server, connection, root):
    old = scheduled(connection, root).schedule
    with pytest.raises(NbshipError, match="request refused"):
        scheduled(connection, root, "61 3 * * 1")
    assert workflow.schedules(connection, root) == [old]


def test_deleted(connection, root):
    scheduled(connection, root)
    workflow.delete(connection, root, "line")
    assert workflow.schedules(connection, root) == []


@pytest.mark.parametrize("verb", [workflow.pause, workflow.resume, workflow.delete])
def test_where_there_is_none(connection, root, verb):
    with pytest.raises(NbshipError, match="'line' has no schedule"):
        verb(connection, root, "line")
    with pytest.raises(UsageError, match="there is no pipeline 'lime'"):
        verb(connection, root, "lime")


def test_those_of_other_projects_are_left_alone(connection, root):
    made = scheduled(connection, root).schedule
    version = client.ensure_version(connection, "line", "other", root / "pipelines/compiled/line.yaml")
    client.create_schedule(connection, "elsewhere", "0 0 3 * * 1", made.experiment_id, version, {})
    assert [found.name for found in workflow.schedules(connection, root)] == ["line"]


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 3 * * 1", "0 0 3 * * 1"),
        ("  */5 *  * * *", "0 */5 * * * *"),
        ("30 0 3 * * 1", "30 0 3 * * 1"),
        ("0 3 * * 7", "0 0 3 * * 0"),
        ("0 3 * * 1,7", "0 0 3 * * 1,0"),
        ("0 3 * * 5-7", "0 0 3 * * 5,6,0"),
        ("0 3 * * 7-7", "0 0 3 * * 0"),
        ("0 3 * * 1-7/3", "0 0 3 * * 1,4,0"),
        ("0 3 7 7 *", "0 0 3 7 7 *"),
    ],
)
def test_times(cron, expected):
    assert cron_fields(cron) == expected


def ranges(low, high):
    """Items of a field of cron: all, a value, a range, with a step or without."""
    values = st.integers(low, high)
    spans = st.tuples(values, values).map(lambda two: f"{min(two)}-{max(two)}")
    steps = st.sampled_from(["", "/1", "/2", "/13"])
    spans = st.builds(str.__add__, st.one_of(st.just("*"), spans), steps)
    return st.lists(st.one_of(values.map(str), spans), min_size=1, max_size=3).map(",".join)


def weekdays(field):
    """The days that a field of cron names, Sunday as 0."""
    found = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.replace("*", "0-6").partition("-")
        found |= {day % 7 for day in range(int(first), int(last if dash else first) + 1, int(step or 1))}
    return found


@given(fields=st.tuples(ranges(0, 59), ranges(0, 23), ranges(1, 31), ranges(1, 12), ranges(0, 7)))
def test_whatever_cron_takes_kubeflow_takes_for_the_same_days(fields):
    times = cron_fields(" ".join(fields))
    check_cron(times)
    assert times.split()[:5] == ["0", *fields[:4]]
    assert weekdays(times.split()[5]) == weekdays(fields[4])


@pytest.mark.parametrize("cron", ["0 3 * * 7", "0 3 * * 5-7", "0 3 * * sun", "*/15 6-18/2 1,15 jan-jun ?"])
def test_times_that_the_server_takes(connection, root, cron):
    assert scheduled(connection, root, cron).schedule.cron == cron_fields(cron)


@pytest.mark.parametrize("cron", ["0 3 * * 5#2", "0 3 L * *", "61 3 * * 1", "0 3 * * 5-2", "0 3 * * 1/0"])
def test_times_that_the_server_refuses(server, connection, root, cron):
    with pytest.raises(NbshipError, match="Schedule cron is not a supported format"):
        scheduled(connection, root, cron)
    assert not server.schedules


@pytest.mark.parametrize("cron", ["", "0 3", "@daily", "0 0 3 * * 1 2026"])
def test_times_that_are_wrong(cron):
    with pytest.raises(UsageError, match="fields, and cron has 5"):
        cron_fields(cron)
