"""The Prometheus metrics of a service, except those in step_metrics.py."""

import math

from prometheus_client import Counter, Gauge, Histogram

ACKNOWLEDGEMENT_SECONDS = Histogram(
    "saga_note_seconds",
    "Time from a step's result to its durable acknowledgement, in seconds. A crash in this window repeats the call",
    ["step"],
)
FAILURES = Counter("saga_attempts_failed_total", "Failed attempts, whether retried or not", ["step", "error"])
PARKED = Counter("saga_dead_letters_total", "Records sent to the topic dlq", ["step", "error"])
DUPLICATES = Counter("saga_duplicates_total", "Duplicate messages, which were ignored", ["topic"])
SECOND_REQUESTS = Counter(
    "saga_second_requests_total", "Requests on new-user for the id of an existing saga, which are ignored", ["reason"]
)
FORWARDED = Counter("saga_forwarded_total", "Records forwarded to the partition of their saga id", ["topic"])
COMMIT_HELD_SECONDS = Gauge(
    "saga_commit_held_seconds", "Age of the oldest unfinished record, which holds back the commit of its partition"
)
RECORDS_LOST = Counter(
    "saga_records_lost_total", "Records deleted by retention before they were read, as far as known", ["topic"]
)
LOSS_EVENTS = Counter("saga_record_losses_total", "How often records were deleted before they were read", ["topic"])
REFUSED = Counter("saga_outputs_refused_total", "Outputs that the broker refused permanently, by topic", ["topic"])
BROKER_AHEAD = Gauge(
    "saga_broker_clock_ahead_seconds",
    "Seconds by which the broker's clock is ahead of this worker's, measured on this topic; negative if behind",
    ["topic"],
)
WAITING = Gauge("saga_requests_waiting", "Requests that wait outside their partition for their next attempt")
NEXT_DUE = Gauge(
    "saga_requests_waiting_next_seconds", "Seconds until the next waiting request is due; NaN if none waits"
)
NEXT_DUE.set(math.nan)
