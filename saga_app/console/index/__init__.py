"""The index: sagas and dead letters in SQLite or PostgreSQL, rebuilt from Kafka if missing."""
