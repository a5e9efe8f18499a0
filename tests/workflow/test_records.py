"""What the pipeline file says of records reaches a server's container, and is read there as it was meant."""

from __future__ import annotations

import pytest

from nbship.config import Monitor
from nbship.errors import UsageError
from nbship.workflow.records import RULES, log_of, log_settings

MONITOR = Monitor(store="s3://cars/kept", private={"$(HOME) $$": "drop"}, sample=0.25, seconds=3)


def test_a_container_is_told_what_the_pipeline_file_says():
    told = log_settings(MONITOR)
    assert not any("$" in value for value in told.values())
    log = log_of(told, "cars")
    assert (log.name, log.seconds) == ("cars", 3)
    assert (log.keeping.store, log.keeping.sample) == ("s3://cars/kept", 0.25)
    assert log.keeping.private == {"$(HOME) $$": "drop"}


def test_a_server_keeps_nothing_where_nobody_says_so_or_kserves_logger_does():
    assert log_of({}, "cars") is None
    assert log_settings(Monitor()) == {}
    assert log_settings(MONITOR.model_copy(update={"collector": "http://collector"})) == {}


@pytest.mark.parametrize("rules", ['{"sample": 2}', "{", '{"privat": {}}'])
def test_rules_that_are_not_understood_are_an_error(rules):
    with pytest.raises(UsageError, match=RULES):
        log_of({**log_settings(MONITOR), RULES: rules}, "cars")


def test_a_column_is_not_hashed_without_a_key():
    with pytest.raises(UsageError, match="no key") as caught:
        log_of(log_settings(Monitor(store="x", private={"plate": "hash"})), "cars")
    assert "NBSHIP_RECORDS_KEY" in caught.value.hint
