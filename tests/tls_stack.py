"""A stack that lets nobody in without TLS and a login, with certificates of its own.

The wheel's PostgreSQL is built without OpenSSL, so the server is that of another
well-kept build, fetched as the jars are: by its locked digest.
"""

from __future__ import annotations

import io
import os
import platform
import socket
import ssl
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import SecretStr

from connectors.kafka_security import java_security
from connectors.settings import KafkaSettings
from connectors.stack import Stack, jars
from connectors.stack.jars import Jar
from connectors.stack.layout import LOOPBACK
from connectors.stack.services import Broker, Connect, Postgres, Service

USER = "deltafolio"
SECRET = 'open "sesame" \\ 7$'  # noqa: S105 - awkward, as they are
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

_BUILDS = {
    ("linux", "x86_64"): (
        "linux-amd64",
        "008ee189eaa7ca2b58bd01dd950291e638b998392cf982297acd4779ec898ac1",
        15119738,
    ),
    ("linux", "aarch64"): (
        "linux-arm64v8",
        "5f54e016723afa6213925a8acb939bac52944b1d348f65c7a20f0cd2928c31be",
        14142322,
    ),
}
BUILD = _BUILDS.get((sys.platform, platform.machine()))

ACCESS = """
host    postgres     all  127.0.0.1/32  scram-sha-256
hostssl all          all  127.0.0.1/32  scram-sha-256
hostssl replication  all  127.0.0.1/32  scram-sha-256
"""
"""Who may come in: to the database postgres without TLS too, where the wheel's psql
makes the others."""


@dataclass(frozen=True)
class Certificates:
    """PEM files: an authority's, a server's of 127.0.0.1, a client's; a stranger's.

    Servers' and clients' have the certificates and the key in one, as Java wants it.
    """

    authority: Path
    server: Path
    client: Path
    stranger: Path

    @classmethod
    def make(cls, home: Path) -> Certificates:
        home.mkdir(mode=0o755)
        authority, stranger = trustme.CA(), trustme.CA()
        made = cls(*(home / f"{n}.pem" for n in cls.__dataclass_fields__))
        authority.cert_pem.write_to_path(made.authority)
        stranger.cert_pem.write_to_path(made.stranger)
        _write(authority.issue_cert(LOOPBACK), made.server)
        _write(authority.issue_cert(USER, common_name=USER), made.client)
        return made


def _write(leaf: trustme.LeafCert, path: Path) -> None:
    key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.touch(mode=0o600)
    path.write_bytes(text + b"".join(blob.bytes() for blob in leaf.cert_chain_pems))


def postgres_with_tls(home: Path) -> Path:
    """Lay out the server; its directory of programs."""
    assert BUILD is not None
    name, sha256, size = BUILD
    artifact = f"embedded-postgres-binaries-{name}"
    jar = Jar("tests", "io.zonky.test.postgres", artifact, "18.6.0", sha256, size)
    with zipfile.ZipFile(jars.fetch([jar])[jar]) as archive:
        [inner] = [n for n in archive.namelist() if n.endswith(".txz")]
        packed = io.BytesIO(archive.read(inner))
    with tarfile.open(fileobj=packed, mode="r:xz") as tar:
        # Python has it since 3.11.4; without it the locked digest has to do.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(home)  # noqa: S202 - by the filter above
    return home / "bin"


@dataclass(frozen=True)
class SecureStack:
    """A stack, its certificates, and the port of who logs in by certificate."""

    stack: Stack
    certificates: Certificates
    mutual: int

    @classmethod
    def make(cls, home: Path) -> SecureStack:
        """Lay it out; the caller starts and stops it."""
        certificates = Certificates.make(home / "certificates")
        programs = postgres_with_tls(home / "postgresql")
        with socket.socket() as free:
            free.bind((LOOPBACK, 0))
            mutual = int(free.getsockname()[1])
        kinds: dict[str, type[Service]] = {
            "postgres": _postgres(certificates, programs),
            "broker": _broker(certificates, mutual),
            "connect": _connect(certificates),
        }
        return cls(Stack(home / "stack", kinds=kinds), certificates, mutual)

    def port(self, name: str) -> int:
        [found] = [one.port for one in self.stack.status() if one.name == name]
        assert found is not None
        return found

    @property
    def dsn(self) -> str:
        """PostgreSQL, with its certificate checked."""
        name = f"postgres:{self.stack.layout.password()}"
        where = f"{LOOPBACK}:{self.port('postgres')}/deltafolio"
        tls = f"sslmode=verify-full&sslrootcert={self.certificates.authority}"
        return f"postgresql://{name}@{where}?{tls}"

    def kafka(self, mechanism: str = "SCRAM-SHA-512", **other: Any) -> KafkaSettings:
        """Kafka, by SASL_SSL."""
        bootstrap = f"{LOOPBACK}:{self.port('broker')}"
        made = kafka_settings(bootstrap, self.certificates, mechanism)
        return KafkaSettings(**{**made.model_dump(), **other})


def kafka_settings(
    bootstrap: str, certificates: Certificates, mechanism: str = "SCRAM-SHA-512"
) -> KafkaSettings:
    return KafkaSettings(
        bootstrap=bootstrap,
        security_protocol="SASL_SSL",
        sasl_mechanism=mechanism,
        sasl_username=USER,
        sasl_password=SecretStr(SECRET),
        ssl_cafile=certificates.authority,
    )


def _postgres(certificates: Certificates, programs: Path) -> type[Service]:
    class TlsPostgres(Postgres):
        server = programs

        def prepare(self) -> None:
            super().prepare()
            data = self.layout.data(self.name)
            (data / "pg_hba.conf").write_text(ACCESS)
            key = data / "server.pem"
            key.write_bytes(certificates.server.read_bytes())
            key.chmod(0o600)  # or the server refuses it
            os.chown(key, data.stat().st_uid, data.stat().st_gid)

        def options(self) -> dict[str, str]:
            files = {"ssl_cert_file": "server.pem", "ssl_key_file": "server.pem"}
            return {**super().options(), "ssl": "on", **files}

    return TlsPostgres


def _broker(certificates: Certificates, mutual: int) -> type[Service]:
    class TlsBroker(Broker):
        listener = "SASL_SSL"
        format_options = tuple(
            word
            for mechanism in MECHANISMS[1:]
            for word in ("--add-scram", f"{mechanism}={_scram()}")
        )

        def properties(self) -> dict[str, str]:
            usual = super().properties()
            also = f",SSL://{LOOPBACK}:{mutual}"
            return {
                **usual,
                **_broker_login(certificates),
                "listeners": usual["listeners"] + also,
                "advertised.listeners": usual["advertised.listeners"] + also,
                "listener.security.protocol.map": (
                    "SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:PLAINTEXT"
                ),
                "inter.broker.listener.name": "SASL_SSL",
                "sasl.enabled.mechanisms": ",".join(MECHANISMS),
                "listener.name.ssl.ssl.client.auth": "required",
            }

        def connection(self) -> socket.socket:
            context = ssl.create_default_context(cafile=certificates.authority)
            return context.wrap_socket(super().connection(), server_hostname=LOOPBACK)

    return TlsBroker


def _scram() -> str:
    return f"[name={USER},password={SECRET}]"


def _broker_login(certificates: Certificates) -> dict[str, str]:
    """Its certificate, who may log in, and how it logs in to itself."""
    own = java_security(
        KafkaSettings(
            **{
                **kafka_settings("unused:1", certificates).model_dump(),
                "ssl_certfile": certificates.server,
            }
        )
    )
    del own["security.protocol"]
    own["sasl.mechanism.inter.broker.protocol"] = own.pop("sasl.mechanism")
    scram = own.pop("sasl.jaas.config")
    plain = scram.replace("scram.Scram", "plain.Plain")
    password = plain.partition(" password=")[2].rstrip(";")
    jaas = "listener.name.sasl_ssl.{}.sasl.jaas.config"
    return {
        **own,
        jaas.format("scram-sha-256"): scram,
        jaas.format("scram-sha-512"): scram,
        jaas.format("plain"): f"{plain[:-1]} user_{USER}={password};",
    }


def _connect(certificates: Certificates) -> type[Service]:
    class TlsConnect(Connect):
        def properties(self) -> dict[str, str]:
            found = super().properties()
            security = java_security(
                kafka_settings(found["bootstrap.servers"], certificates)
            )
            # The worker's own clients, and those of its connectors.
            for prefix in ("", "producer.", "consumer.", "admin."):
                found |= {prefix + name: value for name, value in security.items()}
            return found

    return TlsConnect
