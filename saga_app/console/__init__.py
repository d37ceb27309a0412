"""The console: a reader of all topics without a consumer group, an index, the page, the API and the event stream."""
