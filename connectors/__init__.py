"""Borders: settings, Debezium, the journal, Kafka, PostgreSQL, the local stack."""
