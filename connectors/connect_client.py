"""Kafka Connect's REST interface, as far as capture needs it."""

from __future__ import annotations

import contextlib
import ssl
from typing import Any

import httpx

from connectors.kafka_security import reveal
from connectors.settings import Settings


class NotFoundError(httpx.HTTPError):
    """No connector of this name; or a Connect that starts and knows none yet."""


class ConnectClient:
    """The few calls of Connect's REST interface that capture needs.

    Raises ``httpx.HTTPError`` when Connect cannot be reached or answers with an error.
    """

    def __init__(
        self, settings: Settings, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        connect = settings.connect
        self.name = connect.connector
        login = (connect.username or "", reveal(connect.password))
        self._client = httpx.AsyncClient(
            base_url=connect.url,
            timeout=30.0,
            # A proxy of the environment would be shown the password of the database.
            trust_env=False,
            transport=transport,
            auth=login if connect.username else None,
            verify=ssl.create_default_context(cafile=connect.ssl_cafile),
        )

    async def __aenter__(self) -> ConnectClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def config(self) -> dict[str, str] | None:
        """Read the registered configuration; None if there is none."""
        found: dict[str, str] | None = await self._get("/config")
        return found

    async def status(self) -> dict[str, Any] | None:
        """Read the state of connector and tasks; None if it is not registered."""
        found: dict[str, Any] | None = await self._get("/status")
        return found

    async def put(self, config: dict[str, str]) -> None:
        """Register a configuration, in place of another one if there is."""
        await self._call("PUT", "/config", json=config)

    async def restart_failed(self) -> None:
        """Restart what has failed, and only that."""
        await self._call("POST", "/restart?includeTasks=true&onlyFailed=true")

    async def delete(self) -> None:
        """Remove the connector; nothing if there is none."""
        with contextlib.suppress(NotFoundError):
            await self._call("DELETE", "")

    async def _get(self, path: str) -> Any:
        try:
            return (await self._call("GET", path)).json()
        except NotFoundError:
            return None

    async def _call(self, method: str, path: str, **more: Any) -> httpx.Response:
        url = f"/connectors/{self.name}{path}"
        answer = await self._client.request(method, url, **more)
        if answer.status_code == 404:
            message = f"Connect knows nothing at {url}"
            raise NotFoundError(message)
        answer.raise_for_status()
        return answer
