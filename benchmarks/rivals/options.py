"""The command line of a rival's process: `python -m benchmarks.rivals.<chain> SERVICE --broker HOST:PORT`."""

import argparse

SERVICES = ("provisioner", "authorizer", "notifier")


def read(chain: str) -> argparse.Namespace:
    """Parse the command line into `service`, `broker` and `json`."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.rivals.{chain}")
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("--broker", required=True, metavar="HOST:PORT")
    parser.add_argument("--json", choices=("std", "orjson"), default="orjson")
    return parser.parse_args()
