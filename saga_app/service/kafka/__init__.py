"""What the services need to know of the Kafka cluster: topics, partitions, clocks, changes."""
