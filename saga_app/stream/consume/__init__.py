"""Consuming: fetching in batches, running handlers, committing in order, rebalances."""
