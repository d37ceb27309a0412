"""The console: page, API and event stream. It reads all topics without a consumer group."""

from saga_app import workers

app = workers.make("console")
