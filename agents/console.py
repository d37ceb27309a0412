"""The console: the page, the API and the event stream, from reading all topics without a consumer group."""

from saga_app import workers

app = workers.make("console")
