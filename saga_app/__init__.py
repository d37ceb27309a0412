"""The onboarding of users as a choreographed saga over Kafka."""
