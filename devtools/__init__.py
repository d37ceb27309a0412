"""Development tools: generators of checked-in files, and helpers that tests and benchmarks share."""
