"""Producing: batching, acknowledgements, and messages that the broker refuses."""
