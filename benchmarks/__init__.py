"""The benchmark: the cost of this project next to the same services written by hand. `python -m benchmarks`.

A light driver sends users as a burst or at a steady rate, and reads the completions from the changelog. This project
and each rival run in turn, each on a fresh broker with the same topics and users. Figures are medians over rounds;
ratios are taken within one round.

`python -m benchmarks.parts` prints the cost of each part of a saga. It needs no Kafka and takes seconds.
"""
