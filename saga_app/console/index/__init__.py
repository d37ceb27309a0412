"""The index: sagas and dead letters in SQLite or PostgreSQL, rebuilt from Kafka when it is missing."""
