"""JSON Schemas and the AsyncAPI document of the results topics, made of the models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connectors.difference_models import MetricDifference
from connectors.models import MODELS, record_type, retraction_of
from connectors.record_models import SymbolRetraction
from connectors.settings import TopicSettings

ASYNCAPI_FILE = "asyncapi.json"
DIFFERENCES_FILE = "replay.differences.schema.json"
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_SCHEMA_FORMAT = "application/schema+json;version=draft-2020-12"

_SUMMARIES = {
    "snapshots": "A portfolio in a session: money, return, exposures, quality.",
    "positions": "The lots of a portfolio in a session, as parallel arrays.",
    "risk": "Exposures, volatility, correlation, sectors of a portfolio in a session.",
    "symbols": "Betas, loadings and volatility of a symbol up to a session.",
}
_DIFFERENCES = "A metric of a portfolio where a replay and live are not the same."
_DESCRIPTION = """\
Results of Deltafolio, as they change. A record is the whole of one portfolio (or \
symbol) and session; the one with the highest revision (p, m, v) holds, and a lower \
one that comes later must be passed over. A record with "retracted": true deletes it. \
The topics are compacted: a consumer that starts at the beginning ends with all that \
holds. Pass over fields that you do not know."""


def documents(topics: TopicSettings | None = None) -> dict[str, str]:
    """Make every document: its text by the name of its file."""
    names = topics or TopicSettings()
    files = {schema_file(family): json_schema(family) for family in MODELS}
    files[DIFFERENCES_FILE] = differences_schema()
    files[ASYNCAPI_FILE] = asyncapi(names)
    return {name: _text(document) for name, document in files.items()}


def schema_file(family: str) -> str:
    """Name of the file with a family's JSON Schema."""
    return f"results.{family}.schema.json"


def json_schema(family: str) -> dict[str, Any]:
    """JSON Schema of what a topic carries: a result or a retraction."""
    schema = record_type(family).json_schema()
    return {
        "$schema": _DRAFT,
        "$id": schema_file(family),
        "title": f"A record of results.{family}",
        "description": _SUMMARIES[family],
        **_plain(schema),
    }


def differences_schema() -> dict[str, Any]:
    """JSON Schema of what a replay says of how far it is from live."""
    return {
        "$schema": _DRAFT,
        "$id": DIFFERENCES_FILE,
        **_plain(MetricDifference.model_json_schema()),
        "title": "A record of replay.<run>.differences",
    }


def _plain(node: Any) -> Any:
    """Say in JSON what docstrings say in Python: no wraps, no doubled back-quotes.

    Titles that only repeat the name of a property are left out.
    """
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _plain(value) for key, value in node.items()}
    if isinstance(node.get("description"), str):
        found["description"] = " ".join(node["description"].replace("``", "`").split())
    for field in found.get("properties", {}).values():
        field.pop("title", None)
    return found


def asyncapi(topics: TopicSettings) -> dict[str, Any]:
    """AsyncAPI document (3.0) of the topics that consumers read."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Deltafolio results",
            "version": "1",
            "description": _DESCRIPTION,
        },
        "defaultContentType": "application/json",
        "channels": {
            **{family: _channel(family, topics) for family in MODELS},
            "differences": _differences_channel(topics),
        },
        "operations": {
            f"publish_{family}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{family}"},
                "summary": _SUMMARIES[family],
            }
            for family in MODELS
        }
        | {
            "publish_differences": {
                "action": "send",
                "channel": {"$ref": "#/channels/differences"},
                "summary": _DIFFERENCES,
            }
        },
        "components": {
            "messages": {
                **{family: _message(family) for family in MODELS},
                "differences": _differences_message(),
            }
        },
    }


def _differences_channel(topics: TopicSettings) -> dict[str, Any]:
    return {
        **_channel("snapshots", topics),
        "address": "replay.{run}.differences",
        "summary": _DIFFERENCES,
        "parameters": {"run": {"description": "Name of the run."}},
        "messages": {"differences": {"$ref": "#/components/messages/differences"}},
    }


def _differences_message() -> dict[str, Any]:
    return {
        "name": "differences",
        "summary": _DIFFERENCES,
        "payload": {
            "schemaFormat": _SCHEMA_FORMAT,
            "schema": {"$ref": f"./{DIFFERENCES_FILE}"},
        },
        "bindings": {
            "kafka": {
                "bindingVersion": "0.5.0",
                "key": {
                    "type": "string",
                    "pattern": "^-?[0-9]+[|].+$",
                    "description": "Portfolio and metric. The partition is that of the "
                    "portfolio's results.",
                },
            }
        },
    }


def _channel(family: str, topics: TopicSettings) -> dict[str, Any]:
    return {
        "address": getattr(topics, family),
        "summary": _SUMMARIES[family],
        "messages": {family: {"$ref": f"#/components/messages/{family}"}},
        "bindings": {
            "kafka": {
                "bindingVersion": "0.5.0",
                "partitions": topics.partitions,
                "topicConfiguration": {"cleanup.policy": ["compact"]},
            }
        },
    }


def _message(family: str) -> dict[str, Any]:
    return {
        "name": family,
        "summary": _SUMMARIES[family],
        "headers": {
            "type": "object",
            "properties": {
                "r": {
                    "type": "string",
                    "pattern": "^[0-9]+,[0-9]+,[0-9]+$",
                    "description": "The revision: p, m, v.",
                },
                "d": {
                    "type": "string",
                    "description": "Digest of the content, eight bytes, big-endian; "
                    "0 for a retraction.",
                },
            },
        },
        "payload": {
            "schemaFormat": _SCHEMA_FORMAT,
            "schema": {"$ref": f"./{schema_file(family)}"},
        },
        "bindings": {
            "kafka": {
                "bindingVersion": "0.5.0",
                "key": _key(family),
            }
        },
    }


def _key(family: str) -> dict[str, str]:
    if retraction_of(family) is SymbolRetraction:
        owner, what = ".+", "symbol"
    else:
        owner, what = "-?[0-9]+", "portfolio"
    return {
        "type": "string",
        "pattern": f"^{owner}[|][0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}$",
        "description": f"{what.capitalize()} and session, which follows the last |. "
        f"The partition is that of the {what}'s text (murmur2).",
    }


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


# --- files ------------------------------------------------------------------------


def differing(directory: Path, topics: TopicSettings | None = None) -> list[str]:
    """Names of files that are missing, differ, or should not be there."""
    wanted = documents(topics)
    found = {path.name for path in directory.glob("*.json")}
    changed = [
        name
        for name, text in wanted.items()
        if name in found and (directory / name).read_text("utf-8") != text
    ]
    return sorted([*changed, *(wanted.keys() ^ found)])


def write(directory: Path, topics: TopicSettings | None = None) -> list[str]:
    """Write what differs; the names of these files."""
    names = differing(directory, topics)
    directory.mkdir(parents=True, exist_ok=True)
    wanted = documents(topics)
    for name in names:
        if name in wanted:
            (directory / name).write_text(wanted[name], "utf-8")
        else:
            (directory / name).unlink()
    return names
