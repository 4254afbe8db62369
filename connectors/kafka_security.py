"""How clients log in to Kafka: TLS for Python's, Java's words for Debezium's.

And, when a broker does not let us in, why.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest
from pydantic import SecretStr

from connectors.settings import KafkaSettings

LOOK_MS = 5_000


def reveal(secret: SecretStr | None) -> str:
    """Text of a secret; empty for none."""
    return secret.get_secret_value() if secret else ""


def tls_context(kafka: KafkaSettings) -> ssl.SSLContext:
    """How to check a broker's certificate and host name, and what to show it.

    Raises
    ------
    aiokafka.errors.KafkaConnectionError
        If a file cannot be read or has no certificate or key in it.
    """
    path = kafka.ssl_cafile
    try:
        context = ssl.create_default_context(cafile=path)
        if kafka.ssl_certfile:
            path = kafka.ssl_certfile
            # A function: without one, OpenSSL asks the terminal for a key's password.
            context.load_cert_chain(
                path, password=lambda: reveal(kafka.ssl_key_password)
            )
    except OSError as error:
        message = f"{path}: no PEM file that can be used ({error})"
        raise KafkaConnectionError(message) from error
    return context


def java_security(kafka: KafkaSettings) -> dict[str, str]:
    """Write the same in Java's words, as properties of a client.

    >>> java_security(KafkaSettings())
    {'security.protocol': 'PLAINTEXT'}
    """
    found: dict[str, str] = {"security.protocol": kafka.security_protocol}
    if kafka.logs_in:
        module = "scram.Scram" if "SCRAM" in kafka.sasl_mechanism else "plain.Plain"
        found["sasl.mechanism"] = kafka.sasl_mechanism
        found["sasl.jaas.config"] = (
            f"org.apache.kafka.common.security.{module}LoginModule required "
            f"username={_quoted(kafka.sasl_username or '')} "
            f"password={_quoted(reveal(kafka.sasl_password))};"
        )
    if kafka.ssl_cafile:
        found["ssl.truststore.type"] = "PEM"
        found["ssl.truststore.location"] = str(kafka.ssl_cafile)
    if kafka.ssl_certfile:
        found["ssl.keystore.type"] = "PEM"
        found["ssl.keystore.location"] = str(kafka.ssl_certfile)
        if kafka.ssl_key_password:
            found["ssl.key.password"] = reveal(kafka.ssl_key_password)
    return found


def _quoted(text: str) -> str:
    """Quote a value of a JAAS line."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


async def why_refused(kafka: KafkaSettings, options: Mapping[str, Any]) -> str:
    """Try each broker once more, and say what happened and where to look.

    The client itself says only that no broker was reached.

    Parameters
    ----------
    kafka
        Of the settings; names are taken from it, never a secret.
    options
        What clients are made with.
    """
    chosen = {
        name: value for name, value in options.items() if name != "bootstrap_servers"
    }
    chosen["request_timeout_ms"] = LOOK_MS
    lines = []
    for server in kafka.bootstrap.split(","):
        host, _, port = server.rpartition(":")
        try:
            connection = await create_conn(host, int(port), **chosen)
            try:
                await connection.send(MetadataRequest([]))
            finally:
                connection.close()
        except (OSError, KafkaError, TimeoutError) as error:
            why = _told(error, kafka)
            lines.append(f"{server} by {kafka.security_protocol}: {why}")
        else:
            lines.append(f"{server} answers now; try again")
    return "; ".join(lines)


def _told(error: BaseException, kafka: KafkaSettings) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({error.verify_message}): "
            "see KAFKA__SSL_CAFILE, and the host names in the certificate"
        )
    if isinstance(error, ssl.SSLError):
        return (
            f"no TLS ({error.reason}): see KAFKA__SECURITY_PROTOCOL, and "
            "KAFKA__SSL_CERTFILE if it wants to see a certificate"
        )
    if isinstance(error, SaslAuthenticationFailed | AuthenticationFailedError):
        return (
            f"it refuses {kafka.sasl_username} by {kafka.sasl_mechanism}: "
            "see KAFKA__SASL_USERNAME, __SASL_PASSWORD, __SASL_MECHANISM"
        )
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"it does not know {kafka.sasl_mechanism}: see KAFKA__SASL_MECHANISM"
    if isinstance(error, KafkaError):
        return (
            f"it ends the connection ({type(error).__name__}): see "
            "KAFKA__SECURITY_PROTOCOL (a broker that wants TLS or a login hangs up "
            "on who does not), and KAFKA__SSL_CERTFILE"
        )
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
