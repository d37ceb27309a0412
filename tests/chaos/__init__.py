"""Chaos test on a real Kafka: `python -m tests.chaos --sagas 10000 --minutes 8 --seed 1`, or `make chaos`.

It starts a broker, a mail server and `saga up` with two workers of each service, and sends users at a steady rate.
Meanwhile a seeded schedule kills, freezes and terminates workers and stops the broker; records are duplicated, delayed,
misplaced and corrupted; replies to mails are lost; steps fail and are denied; and an operator redrives and rolls back
sagas. Then the faults stop, the operator rolls back what is parked, and the outcome of every saga is checked.
"""
