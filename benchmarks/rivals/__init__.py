"""The same chain of three services as one would write it by hand for speed.

No validation, no headers, no history, no retries, no trace, no way back, and the Provisioner does not read its state
back when it starts. What it sends is acknowledged before it commits, and every change of its state is in the changelog.
"""
