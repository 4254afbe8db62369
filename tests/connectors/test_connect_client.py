"""Connect is asked by ourselves: no proxy of the environment is shown what we say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from connectors.capture import connector_config
from connectors.connect_client import ConnectClient
from connectors.settings import ConnectSettings, PostgresSettings, Settings
from connectors.stack.kafka import Connect


class Listener:
    """Answers 200 to whatever it is asked, and keeps what that was."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        heard = self.heard

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                heard.append(self.requestline.encode() + self.rfile.read(length))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            do_PUT = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def listening() -> Iterator[Listener]:
    made = Listener()
    thread = Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


@pytest.fixture
def server() -> Iterator[Listener]:
    with listening() as made:
        yield made


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with listening() as made:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, made.url)
        yield made


async def test_the_password_of_the_database_goes_to_connect_and_to_nobody_else(
    server: Listener, proxy: Listener, tmp_path: Path
) -> None:
    settings = Settings(
        home=tmp_path,
        connect=ConnectSettings(url=server.url),
        postgres=PostgresSettings(capture_password=SecretStr("topsecret")),
    )
    async with ConnectClient(settings) as client:
        await client.put(connector_config(settings))
        await client.status()
    assert b"topsecret" in server.heard[0]
    assert len(server.heard) == 2
    assert proxy.heard == []


def test_the_health_of_our_own_connect_is_asked_of_itself(
    server: Listener, proxy: Listener
) -> None:
    connect: Any = SimpleNamespace(url=server.url)
    assert Connect.is_healthy(connect)
    assert (len(server.heard), proxy.heard) == (1, [])
