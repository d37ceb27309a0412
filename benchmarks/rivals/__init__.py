"""The same chain of three services as one would write it by hand for speed.

It has no validation, headers, history, retries, trace or compensation, and the Provisioner does not restore its state
at startup. Outputs are acknowledged before offsets are committed, and every change of state is in the changelog.
"""
