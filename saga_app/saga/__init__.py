"""The saga itself, pure: no Kafka, no clock, no network. Read `onboarding.py` first."""
