"""Reading Kafka without a consumer group: all topics for the index, single records for a trace."""
