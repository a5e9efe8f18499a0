"""Bounded load on a server: a fixed number of requests on a fixed number of connections, each timed.

A process of its own, so that the client's work is not the server's.

usage: python -m benchmarks.serving.load ADDRESS CONTENT-FILE CONNECTIONS REQUESTS
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit


def main(address: str, content: Path, connections: int, requests: int) -> None:
    """Sends the requests, and prints JSON: requests per second and the seconds that each took."""
    parts = urlsplit(address)
    body = content.read_bytes()
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    message = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    taken: list[float] = []
    share = requests // connections

    def send() -> None:
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            file = connection.makefile("rb")
            for _ in range(share):
                started = time.perf_counter()
                connection.sendall(message)
                status = _read(file)
                taken.append(time.perf_counter() - started)
                if status != 200:
                    raise SystemExit(f"{address} answered {status}")

    threads = [threading.Thread(target=send) for _ in range(connections)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    if len(taken) != share * connections:
        raise SystemExit(f"{address}: {len(taken)} of {share * connections} requests were answered")
    print(json.dumps({"per_second": len(taken) / seconds, "seconds": sorted(taken)}))


def _read(file: object) -> int:
    status, length = 0, 0
    for number, line in enumerate(iter(file.readline, b"\r\n")):  # type: ignore[attr-defined]
        if number == 0:
            status = int(line.split()[1])
        elif line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    file.read(length)  # type: ignore[attr-defined]
    return status


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
