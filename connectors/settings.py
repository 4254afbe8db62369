"""Every setting, with its default and its bounds.

Read from the environment (``DELTAFOLIO_POSTGRES__DSN=…``), else from a file of that
name in the directory ``DELTAFOLIO_SECRETS``, else from the file ``settings.json`` that
``deltafolio up`` leaves in the state directory, else the default. Secrets never appear
in ``repr``.
"""

import json
import os
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import msgspec
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from analytics.factors import SAMPLE_FACTORS, Factors

PREFIX = "DELTAFOLIO_"

SECRETS_VARIABLE = f"{PREFIX}SECRETS"

SAMPLE = "sample"
"""Word for the factors that the sample data have."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,179}$")]
"""Of a topic, a group, a connector: what Kafka takes, and room for what is added."""

Identifier = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]
"""Of PostgreSQL, such as needs no quotes."""

OWN_SCHEMAS = ("analytics", "information_schema", "pg_catalog", "pg_toast")
"""Schemas that cannot be the source: ours, whose rows would go in circles, and the
server's."""


class _Group(BaseModel):
    # An error must not show what was given: it may be a misspelt password.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class PostgresSettings(_Group):
    """The system of record, and where the sink writes."""

    dsn: SecretStr = SecretStr("postgresql://postgres@127.0.0.1:5432/deltafolio")
    capture_user: Annotated[str, Field(min_length=1, max_length=63)] = (
        "deltafolio_capture"
    )
    capture_password: SecretStr = SecretStr("")
    slot: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,63}$")] = "deltafolio"
    slot_failover: bool = False
    """Whether the slot is made as one that standbys keep (PostgreSQL 17 and newer)."""
    publication: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,63}$")] = "deltafolio"
    source_schema: Identifier = "public"

    @field_validator("dsn")
    @classmethod
    def _is_an_address(cls, dsn: SecretStr) -> SecretStr:
        try:
            url = urlsplit(dsn.get_secret_value())
            good = url.scheme in ("postgresql", "postgres") and url.port != 0
        except ValueError:  # its text has the password in it, where one is not quoted
            good = False
        if not good:
            message = (
                "not postgresql://user:password@host:port/database (a password with "
                "one of @ / : ? # % has to be percent-encoded)"
            )
            raise ValueError(message)
        return dsn

    @field_validator("source_schema")
    @classmethod
    def _is_not_ours(cls, name: str) -> str:
        if name in OWN_SCHEMAS:
            message = f"{name} cannot be the source"
            raise ValueError(message)
        return name


class KafkaSettings(_Group):
    """The brokers, and how to log in to them.

    Files are PEM. ``ssl_certfile`` has the client's certificates and their private key
    (PKCS #8), for brokers that ask for one. Debezium reads signals from Kafka by the
    same settings: the files are needed at the same paths where Connect runs.
    """

    bootstrap: Annotated[
        str, Field(pattern=r"^[^\s,:/@]+:\d{1,5}(,[^\s,:/@]+:\d{1,5})*$")
    ] = "127.0.0.1:9092"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = (
        "PLAINTEXT"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_key_password: SecretStr | None = None
    replication: int = Field(1, ge=1, le=5)

    @property
    def encrypts(self) -> bool:
        """Whether connections are by TLS."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def logs_in(self) -> bool:
        """Whether connections say who they are, by SASL."""
        return self.security_protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.logs_in and not (self.sasl_username and self.sasl_password):
            message = f"{self.security_protocol} needs sasl_username and sasl_password"
            raise ValueError(message)
        if not self.encrypts and (self.ssl_cafile or self.ssl_certfile):
            message = (
                f"certificates, and security_protocol {self.security_protocol}: "
                "SSL or SASL_SSL is meant"
            )
            raise ValueError(message)
        return self


class ConnectSettings(_Group):
    """Kafka Connect's REST interface and the connector's name."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#@]*)?$")] = (
        "http://127.0.0.1:8083"
    )
    """Without user and password: what is in an address is in messages."""
    username: str | None = None
    password: SecretStr | None = None
    ssl_cafile: Path | None = None
    connector: Name = "deltafolio"


class TopicSettings(_Group):
    """Names of the topics and the number of partitions, fixed at creation."""

    partitions: int = Field(8, ge=1, le=64)
    cdc_prefix: Name = "cdc"
    market: Name = "journal.market"
    portfolios: Name = "journal.portfolios"
    deadletters: Name = "deadletters"
    held: Name = "intake.held"
    market_checkpoint: Name = "state.market"
    snapshots: Name = "results.snapshots"
    positions: Name = "results.positions"
    risk: Name = "results.risk"
    symbols: Name = "results.symbols"
    runs: Name = "runs"

    @model_validator(mode="after")
    def _are_different(self) -> Self:
        names = [name for _, name in self if isinstance(name, str)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            message = f"two topics with one name: {', '.join(twice)}"
            raise ValueError(message)
        return self


class CalendarSettings(_Group):
    """The exchange whose sessions count, and the calendar's fixed bounds."""

    name: str = "XNYS"
    start: date = date(1990, 1, 1)
    end: date = date(2035, 12, 31)


class IntakeSettings(_Group):
    """How intake batches."""

    coalesce_ms: int = Field(5, ge=0, le=1000)
    transaction_wait_ms: int = Field(1000, ge=0, le=60000)
    rows_per_record: int = Field(1000, ge=1, le=10000)
    # Rows of unfinished transactions in memory; a larger one goes on in parts.
    rows_held: int = Field(200_000, ge=1, le=10_000_000)


class WorkerSettings(_Group):
    """How a worker publishes and checkpoints."""

    app_id: Name = "deltafolio"
    flush_ms: int = Field(2, ge=0, le=1000)
    conflate_ms: int = Field(500, ge=0, le=1000)
    checkpoint_s: float = Field(5.0, gt=0, le=600)
    session_timeout_s: float = Field(6.0, ge=1, le=60)
    web_port: int = Field(0, ge=0, le=65535)
    families: Annotated[
        tuple[Literal["snapshots", "positions", "risk", "symbols"], ...],
        Field(min_length=1),
    ] = ("snapshots", "positions", "risk", "symbols")
    """What is derived and published. ``risk`` and ``symbols`` (betas, factors,
    volatilities, correlations, sectors) cost thrice the rest."""
    # What of everything is derived; a replay sets them.
    first_session: date | None = None
    last_session: date | None = None
    portfolios: tuple[int, ...] | None = None
    # Records a second that are published at most.
    rate: float | None = Field(None, gt=0)


class SinkSettings(_Group):
    """How the sink is watched."""

    web_port: int = Field(0, ge=0, le=65535)


def read_factors(given: object) -> Factors:
    """Factors from a setting: the word ``sample``, JSON, or its mapping.

    What is not named has its default.

    Examples
    --------
    >>> read_factors('{"market": "SP500"}').market
    'SP500'

    Raises
    ------
    ValueError
        When a value is out of its bounds or a name is not known.
    """
    if isinstance(given, Factors):
        return given
    if given == SAMPLE:
        return SAMPLE_FACTORS
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            message = f"factors {given!r}: neither JSON nor {SAMPLE!r}"
            raise ValueError(message) from error
    made = msgspec.convert(given, Factors)
    if unknown := list(_unknown(given, msgspec.to_builtins(made))):
        message = f"factors has no {', '.join(unknown)}"
        raise ValueError(message)
    return made


def write_factors(factors: Factors) -> str | dict[str, Any]:
    """Inverse of ``read_factors``: a word, or what is not the default."""
    if factors == SAMPLE_FACTORS:
        return SAMPLE
    default = msgspec.to_builtins(Factors())
    found = msgspec.to_builtins(factors)
    return {name: value for name, value in found.items() if value != default[name]}


def _unknown(given: Any, made: Any, path: str = "") -> Iterator[str]:
    """Names that were given and that nobody reads."""
    if isinstance(given, Mapping):
        for name, value in given.items():
            if name in made:
                yield from _unknown(value, made[name], f"{path}{name}.")
            else:
                yield f"{path}{name}"
    elif isinstance(given, list | tuple):
        for value, one in zip(given, made, strict=True):
            yield from _unknown(value, one, path)


FactorSettings = Annotated[
    Factors,
    PlainValidator(read_factors),
    PlainSerializer(write_factors),
    WithJsonSchema({"type": ["object", "string"]}),
]


class Settings(BaseSettings):
    """All settings. ``Settings.load(home)`` is the usual way in."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    home: Path = Path(".deltafolio")
    postgres: PostgresSettings = PostgresSettings()
    kafka: KafkaSettings = KafkaSettings()
    connect: ConnectSettings = ConnectSettings()
    topics: TopicSettings = TopicSettings()
    calendar: CalendarSettings = CalendarSettings()
    intake: IntakeSettings = IntakeSettings()
    worker: WorkerSettings = WorkerSettings()
    sink: SinkSettings = SinkSettings()
    factors: FactorSettings = Factors()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over what is passed (the state directory's file).

        A directory of secrets, as Docker and Kubernetes mount them, lies between.
        """
        _refuse_unknown_groups(settings_cls)
        secrets = NestedSecretsSettingsSource(
            file_secret_settings,
            secrets_dir=os.environ.get(SECRETS_VARIABLE) or None,
            secrets_dir_missing="error",
        )
        return env_settings, secrets, init_settings

    @classmethod
    def load(cls, home: Path | None = None) -> "Settings":
        """Load the settings of a state directory.

        By default that of ``DELTAFOLIO_HOME``, else ``.deltafolio`` where we are.

        Raises
        ------
        pydantic.ValidationError, pydantic_settings.SettingsError
            When a value cannot be, a name is not known, or the file is no JSON.
        """
        base = cls() if home is None else cls(home=home)
        where = base.home if home is None else home
        file = where / "settings.json"
        stored = _stored(file) if file.exists() else {}
        # A directory that was asked for by name wins over DELTAFOLIO_HOME.
        return cls(**stored).model_copy(update={"home": where})

    def cdc_topic(self, table: str) -> str:
        """Topic of a captured table."""
        return f"{self.topics.cdc_prefix}.{self.postgres.source_schema}.{table}"

    @property
    def transaction_topic(self) -> str:
        """Topic of Debezium's transaction boundaries."""
        return f"{self.topics.cdc_prefix}.transaction"


def _stored(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except ValueError as error:  # its text may show a password
        message = f"{file} is no JSON"
        raise SettingsError(message) from error
    if not isinstance(found, dict):
        message = f"{file} holds no names and values"
        raise SettingsError(message)
    return found


def _refuse_unknown_groups(of: type[BaseSettings]) -> None:
    """Refuse what nobody would heed: the name of a group that is misspelt."""
    for name in os.environ:
        prefix, text = name[: len(PREFIX)].upper(), name[len(PREFIX) :].lower()
        group, parted, _ = text.partition("__")
        if prefix == PREFIX and parted and group not in of.model_fields:
            message = f"{name}: there is no group {group!r} of settings"
            raise SettingsError(message)
