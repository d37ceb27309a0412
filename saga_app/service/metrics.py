"""What a service counts, for Prometheus."""

import math

from prometheus_client import Counter, Gauge, Histogram

STEPS = Counter("saga_steps_total", "Steps that came to an outcome", ["step", "outcome"])
SECONDS = Histogram("saga_step_seconds", "Time from taking a request to its outcome, in seconds", ["step"])
NOTED = Histogram("saga_note_seconds", "From an answer to its acknowledged note; who dies within asks again", ["step"])
FAILURES = Counter("saga_attempts_failed_total", "Attempts that failed, tried again or not", ["step", "error"])
PARKED = Counter("saga_dead_letters_total", "Records sent to the dlq", ["step", "error"])
DUPLICATES = Counter("saga_duplicates_total", "Messages that were known already and changed nothing", ["topic"])
SECOND_REQUESTS = Counter(
    "saga_second_requests_total", "Requests on new-user for the id of an existing saga, which are ignored", ["reason"]
)
FORWARDED = Counter("saga_forwarded_total", "Messages sent on to their id's partition", ["topic"])
HELD = Gauge("saga_commit_held_seconds", "Age of the oldest unfinished record, which holds its partition's commit back")
LOST = Counter("saga_records_lost_total", "Records deleted before they were read, as far as known", ["topic"])
LOSSES = Counter("saga_record_losses_total", "How often records were deleted before they were read", ["topic"])
REFUSED = Counter("saga_outputs_refused_total", "Records that the broker refused for good, by their topic", ["topic"])
BROKER_AHEAD = Gauge(
    "saga_broker_clock_ahead_seconds",
    "How far the broker's clock is ahead of this worker's, measured on this topic; negative if it is behind",
    ["topic"],
)
WAITING = Gauge("saga_requests_waiting", "Requests that wait outside their partition for their next attempt")
NEXT_DUE = Gauge("saga_requests_waiting_next_seconds", "Seconds until the next of them is due; NaN if none is")
NEXT_DUE.set(math.nan)
