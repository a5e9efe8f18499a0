"""Numbers as people write them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbship.templates.amounts import Amounts, amounts_of, read_amounts, source

POINT, COMMA = Amounts("."), Amounts(",")


@pytest.mark.parametrize(
    ("texts", "how", "numbers"),
    [
        (["$1,234.50", "$5.00", "-$3"], POINT, [1234.5, 5, -3]),
        (["1.234,56", "12,5", "3"], COMMA, [1234.56, 12.5, 3]),
        (["1.234,50 €", "12,00 €"], COMMA, [1234.5, 12]),
        (["3,200 CHF", "500 CHF"], Amounts(".", "3,200 CHF"), [3200, 500]),
        (["CHF 1'200.–", "n/a", "CHF 3.50", "2", "5"], POINT, [1200, np.nan, 3.5, 2, 5]),
        (["12 %", "5 %", "3.5%"], POINT, [12, 5, 3.5]),
        (["−3", "4", "(5)"], POINT, [-3, 4, -5]),
        (["1,234", "5,678"], Amounts(".", "1,234"), [1234, 5678]),
        (["1,234", "5,678", "1,234,567"], POINT, [1234, 5678, 1234567]),
        (["1.234.567", "12.500"], COMMA, [1234567, 12500]),
        (["3,5", "12,250"], COMMA, [3.5, 12.25]),
        (["0,123", "0,456"], COMMA, [0.123, 0.456]),
        (["1234,567", "8,250"], COMMA, [1234.567, 8.25]),
        (["3 200 kr", "1 000 000 kr"], POINT, [3200, 1000000]),
    ],
)
def test_amounts_are_read_by_all_values_of_a_column(texts, how, numbers):
    assert amounts_of(pd.Series(texts), ".") == how
    np.testing.assert_array_equal(read_amounts(pd.Series(texts), how.decimal), numbers)


def test_what_a_column_does_not_tell_the_rest_of_the_table_does():
    assert amounts_of(pd.Series(["1.234", "5.678"]), ",") == Amounts(",", "1.234")


@pytest.mark.parametrize(
    "texts",
    [
        *(["P001", "P002"], ["LHR123", "ZRH7"], ["C85", "E12"], ["12:30", "4:20"], ["2024-01-02"], ["1-2"]),
        *(
            ["10–20", "5–6"],
            ["1 2", "3 4"],
            ["127.0.0.1"],
            ["044 123 45 67"],
            ["a", "b", "5"],
            ["$", "€"],
            [],
        ),
    ],
)
def test_what_is_no_amount_is_left_alone(texts):
    assert amounts_of(pd.Series(texts, dtype=object), ".") is None


@given(
    numbers=st.lists(st.decimals(-(10**9), 10**9, places=2), min_size=3, max_size=20),
    marks=st.sampled_from([",.", ".,", "'.", " ,"]),
    money=st.sampled_from(["{}", "${}", "{} €", "CHF {}", "{} %"]),
)
def test_what_was_written_is_read(numbers, marks, money):
    thousands, decimal = marks
    texts = [f"{n:,.2f}".replace(",", "t").replace(".", decimal).replace("t", thousands) for n in numbers]
    column = pd.Series([money.format(text) for text in texts])
    found = amounts_of(column, ".")
    assert found == Amounts(decimal)
    assert read_amounts(column, found.decimal).tolist() == [float(n) for n in numbers]


def test_the_notebook_gets_the_very_code():
    names = {"pd": pd}
    exec(source(), names)  # noqa: S102
    assert names["read_amounts"](pd.Series(["$1,234.50"]), ".").tolist() == [1234.5]
