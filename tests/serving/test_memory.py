"""What requests may take of the server's memory: weighed before it is read, held for a time, given back."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from nbship.serving.memory import Budget, weigh

MAKERS: dict[str, Callable[[int], Any]] = {
    "numbers": lambda n: [i + 0.5 for i in range(n)],
    "records of nothing": lambda n: [{} for _ in range(n)],
    "rows of nothing": lambda n: [[] for _ in range(n)],
    "records": lambda n: [{"weight": i + 0.5, "origin": f"place {i}"} for i in range(n)],
    "one record of many keys": lambda n: {f"field {i}": i for i in range(n)},
    "records of other keys each": lambda n: [{f"field {i}": i} for i in range(n)],
    "lists in lists": lambda n: [[[[[i + 0.5]]]] for i in range(n)],
    "one text": lambda n: "x" * n * 10,
}


@pytest.mark.parametrize("form", MAKERS)
def test_a_text_takes_about_what_it_weighs(form: str) -> None:
    body = orjson.dumps({"instances": MAKERS[form](20_000)})
    tracemalloc.start()
    content = orjson.loads(body)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert content
    assert taken <= weigh(body) <= 3 * taken + len(body)


def test_a_large_text_is_weighed_whole() -> None:
    body = b'{"a": [' + b",".join([b"{}"] * 700_000) + b"]}"
    assert weigh(bytearray(body)) > 700_000 * 64


def test_a_budget_is_shared_in_order_and_given_back() -> None:
    order: list[str] = []

    async def use(budget: Budget, name: str, size: int, turns: int) -> None:
        async with budget.hold(size):
            order.append(name)
            for _ in range(turns):
                await asyncio.sleep(0)

    async def all_of_it() -> None:
        budget = Budget(10)
        await asyncio.gather(use(budget, "a", 6, 3), use(budget, "b", 6, 1), use(budget, "c", 2, 1))
        assert order == ["a", "b", "c"], "c would fit beside a, but b came first"
        async with asyncio.timeout(5), budget.hold(1_000_000):
            order.append("all")

    asyncio.run(all_of_it())
    assert order[-1] == "all"


def test_who_gives_up_takes_nothing() -> None:
    chance = random.Random(0)  # noqa: S311

    async def use(budget: Budget, size: int) -> None:
        async with budget.hold(size):
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)

    async def all_of_it() -> None:
        budget = Budget(10)
        with pytest.raises(TimeoutError):
            async with budget.hold(8), budget.hold(8, patience=0):
                pass
        tasks = [asyncio.create_task(use(budget, chance.randrange(1, 15))) for _ in range(200)]
        while not all(task.done() for task in tasks):
            chance.choice(tasks).cancel()
            await asyncio.sleep(0)
        async with asyncio.timeout(5), budget.hold(10):
            pass

    asyncio.run(all_of_it())
