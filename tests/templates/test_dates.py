"""Dates as people write them."""

import pandas as pd
import pytest

from nbship.templates.dates import MIXED, dates_of, read_dates


@pytest.mark.parametrize(
    ("texts", "format_", "ambiguous"),
    [
        (["2024-01-02", "2023-05-06"], "%Y-%m-%d", False),
        (["2024-01-02 10:00:00"], "%Y-%m-%d %H:%M:%S", False),
        (["01/02/2024"] * 40 + ["13/02/2024"], "%d/%m/%Y", False),
        (["01/02/2024"] * 40 + ["02/13/2024"], "%m/%d/%Y", False),
        (["01/02/2024", "03/04/2024"], "%m/%d/%Y", True),
        (["01.02.2024", "03.04.2024"], "%d.%m.%Y", True),
        (["3 May 2021", "June 14, 2022", "1 May 2020"], MIXED, False),
        (["3 May 2021", "4 Jun 2022"], "%d %b %Y", False),
        (["2024-01-02T10:00:00Z"], MIXED, False),
    ],
)
def test_the_format_of_a_column_follows_from_all_of_its_values(texts, format_, ambiguous):
    found = dates_of(pd.Series(texts))
    assert (found.format, found.ambiguous, found.unread) == (format_, ambiguous, 0)
    assert read_dates(pd.Series(texts), found.format, found.day_first).notna().all()


def test_other_columns_tell_whether_the_day_is_first():
    assert dates_of(pd.Series(["01/02/2024"]), day_first=True).format == "%d/%m/%Y"


@pytest.mark.parametrize(
    "texts", [["may", "march"], ["12.5", "3.25"], ["1-2", "3-4"], ["hello 2024-01-02"], []]
)
def test_what_is_no_date(texts):
    assert dates_of(pd.Series(texts, dtype=object)) is None
