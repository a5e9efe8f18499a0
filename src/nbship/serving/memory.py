"""How much memory requests may take: what a body takes once it is read, and a budget that many share.

Knows nothing of HTTP. A body is only counted, for reading it is what takes the memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# What CPython takes, in bytes: a floating point number and its place in a list; an empty dictionary that the
# garbage collector knows; a key and its place in the dictionary.
_VALUE, _CONTAINER, _KEY = 32, 96, 112
_CHUNK = 2**20
# Of glibc's mallopt, and what they are set to: see its manual.
_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = (-8, 2), (-3, 2**20), (-1, 8 * 2**20)


def weigh(body: bytes | bytearray) -> int:
    """Returns about how many bytes the values of a JSON text take, without reading it.

    A comma within a text counts as one between values, so that prose weighs too much, but nothing too little.
    """
    import numpy as np

    commas = containers = colons = 0
    for start in range(0, len(body), _CHUNK):
        text = np.frombuffer(memoryview(body)[start : start + _CHUNK], np.uint8)
        commas += int(np.count_nonzero(text == ord(",")))
        containers += int(np.count_nonzero((text | 0x20) == ord("{")))  # the same bit makes { of [
        colons += int(np.count_nonzero(text == ord(":")))
    return len(body) + (commas + containers) * _VALUE + containers * _CONTAINER + colons * _KEY


def weigh_values(count: int) -> int:
    """Returns about how many bytes values take, numbers or short texts, beside what they were read from."""
    return 2 * count * _VALUE


class Budget:
    """Bytes that requests share: who needs more than are left waits until others are done, in order.

    Args:
        total: How many there are; who needs more has them all.
    """

    def __init__(self, total: int) -> None:
        self._total = self._left = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, size: int, patience: float | None = None) -> AsyncIterator[None]:
        """Holds bytes while the context lasts.

        Args:
            size: How many.
            patience: Seconds to wait for them; None is any time.

        Raises:
            TimeoutError: They are not free in time.
        """
        size = min(size, self._total)
        await self._take(size, patience)
        try:
            yield
        finally:
            self._left += size
            self._serve()

    async def _take(self, size: int, patience: float | None) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        self._serve()
        try:
            async with asyncio.timeout(patience):
                await turn
        except BaseException:
            if not turn.cancelled():  # served at the very moment of giving up
                self._left += size
            self._serve()
            raise

    def _serve(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.cancelled():
                if size > self._left:
                    return
                self._left -= size
                turn.set_result(None)
            self._waiting.popleft()


def return_what_is_freed() -> None:
    """Has glibc hand freed memory back to the system; it would keep some of every thread for later."""
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in (_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD):
            mallopt(parameter, value)
