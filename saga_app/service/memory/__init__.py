"""What a service remembers of its sagas: rows, effects, and requests that wait for a time."""
