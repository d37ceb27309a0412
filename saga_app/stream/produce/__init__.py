"""Producing: batching, delivery reports, and messages that the broker refuses."""
