"""The web endpoints of a worker: loopback, read only, and hard to upset."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from connectors.health import Health, HealthServer
from streams.metrics import Metrics


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[HealthServer]:
    made = HealthServer(tmp_path, "worker", Health(), Metrics().registry)
    await made.start()
    yield made
    await made.stop()


async def ask(server: HealthServer, request: bytes) -> bytes:
    assert server._server is not None
    host, port = server._server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        writer.write_eof()
        await writer.drain()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_it_listens_on_loopback_and_nowhere_else(server):
    assert {s.getsockname()[0] for s in server._server.sockets} == {"127.0.0.1"}


async def test_health_is_told(server):
    server.health = Health(ready=False, live=True, reason="")
    found = await ask(server, b"GET /health/live HTTP/1.1\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 200 OK")
    assert json.loads(found.partition(b"\r\n\r\n")[2])["live"] is True
    found = await ask(server, b"GET /health/ready HTTP/1.1\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 503 ")
    found = await ask(server, b"GET /metrics HTTP/1.1\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 200 OK")
    assert (await ask(server, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/health/live", "/metrics", "/"])
async def test_nothing_but_reading_is_allowed(server, method, path):
    found = await ask(server, f"{method} {path} HTTP/1.1\r\n\r\n".encode())
    assert found.startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize("request_", [b"", b"\r\n", b"\xff" * 200_000, b"GET\r\n"])
async def test_what_is_no_request_does_no_harm(server, request_):
    complaints: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    await ask(server, request_)
    found = await ask(server, b"GET /health/live HTTP/1.1\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 200 OK")
    assert complaints == []


async def get(home: Path, path: str) -> httpx.Response:
    (file,) = (home / "run").glob("worker-*.json")
    port = json.loads(file.read_text())["port"]
    async with httpx.AsyncClient() as client:
        return await client.get(f"http://127.0.0.1:{port}{path}")


async def test_ready_and_live_are_told_apart(server, tmp_path):
    assert (await get(tmp_path, "/health/live")).status_code == 200
    assert (await get(tmp_path, "/health/ready")).status_code == 503
    server.health.ready, server.health.live = True, False
    assert (await get(tmp_path, "/health/live")).status_code == 503
    ready = await get(tmp_path, "/health/ready")
    assert (ready.status_code, ready.json()["reason"]) == (200, "starting")


async def test_metrics_are_there_for_prometheus_and_nothing_else_is(server, tmp_path):
    found = await get(tmp_path, "/metrics")
    assert "deltafolio_worker_folded_records" in found.text
    assert (await get(tmp_path, "/etc/passwd")).status_code == 404


async def test_the_port_file_goes_with_the_server(server, tmp_path):
    await server.stop()
    assert list((tmp_path / "run").glob("worker-*.json")) == []
