"""The benchmark: what the software costs, beside what an engineer would write by hand. `python -m benchmarks`.

A light driver sends users as a burst or at a steady rate and finds the endings in the changelog. Ours and each rival
get a fresh broker, the same topics and the same users, in turn; figures are medians of ratios within one round.

`python -m benchmarks.parts` says, without Kafka and within seconds, what each part of a saga costs.
"""
