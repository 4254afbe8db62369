"""Versions of the stack, in one place: the embedded one and Compose read them."""

from __future__ import annotations

POSTGRES = "18"
KAFKA = "4.3.1"
SCALA = "2.13"
DEBEZIUM = "3.6.3.Final"
LOG4J = "2.25.4"
"""The version Kafka was built with."""
