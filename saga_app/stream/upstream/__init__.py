"""The only code that touches private names of Faust, mode, aiokafka, aiohttp and confluent-kafka.

The docstrings name the versions they were written against, and say what happens if the library changes.
`tests/unit/stream/upstream/` tests the behaviour of each function and hook, `test_private_names.py` that no
other module uses a private name.
"""
