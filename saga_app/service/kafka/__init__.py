"""The Kafka cluster as the services use it: topics, partitions, clocks, and changes at runtime."""
