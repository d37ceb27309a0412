"""How it is seen: a group-less reader of all topics, an index made from it, and the page, the API and the stream."""
