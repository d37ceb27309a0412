"""Tools for developing this project: generators of checked-in files, and what tests and benchmarks share."""
