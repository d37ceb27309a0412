"""Chaos on a real Kafka: `python -m tests.chaos --sagas 10000 --minutes 8 --seed 1`, or `make chaos`.

A broker of its own, `saga up` with two workers of each service, users at a steady pace, and a seeded schedule of
misfortunes: workers that are killed, frozen and told to stop, a broker that goes away, records that come twice, late,
on a wrong partition or as garbage, mails whose answer is lost, steps that fail and say no, an operator who redrives and
rolls back meanwhile. Then the weather clears, the operator deals with what is parked, and it is counted: a scoreboard.
"""
