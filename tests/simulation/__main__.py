"""Runs the simulation with many seeds, or replays one seed.

    python -m tests.simulation --seeds 10000 [--from N] [--jobs 2] [--mutation NAME] [parameters]
    python -m tests.simulation --seed 4711 [--records] [--mutation NAME] [parameters]

Parameters are the fields of `Parameters`, such as `--crashes 2`. With --seeds, they replace the values drawn from the
seed. With --seed, giving any parameter sets all others to their defaults.
"""

import argparse
import sys
from dataclasses import fields
from time import monotonic

from tests.simulation import many_seeds, mutations
from tests.simulation.parameters import Parameters, draw_parameters, option_name
from tests.simulation.report import record_lines
from tests.simulation.run import Result, run
from tests.simulation.shrink import shrink


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description="Simulate all services on a fake bus, with faults drawn from a seed, and check every saga.",
    )
    parser.add_argument("--seed", type=int, help="replay this seed")
    parser.add_argument("--seeds", type=int, default=1000, help="the number of seeds to run (default: 1000)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed (default: 0)")
    parser.add_argument("--jobs", type=int, default=2, help="the number of processes (default: 2)")
    parser.add_argument(
        "--mutation", choices=sorted(mutations.MUTATIONS), metavar="NAME", help="inject a bug (see mutations.py)"
    )
    parser.add_argument("--records", action="store_true", help="with --seed: print every record in order")
    for parameter in fields(Parameters):
        parser.add_argument(option_name(parameter.name), type=type(parameter.default), help=argparse.SUPPRESS)
    return parser.parse_args()


def replay_seed(args: argparse.Namespace, overrides: dict[str, float]) -> int:
    """Run one seed and print the result; returns the exit code."""
    parameters = Parameters().with_values(**overrides) if overrides else draw_parameters(args.seed)
    with mutations.active(args.mutation):
        result = run(args.seed, parameters, keep_system=True)
    if args.records or result.violations:
        print("\n".join(record_lines(result)))
    return print_result(result)


def print_result(result: Result) -> int:
    """Print the violations of a run; returns the exit code."""
    print("\n".join(result.violations) or "no violations")
    return int(bool(result.violations))


def run_many_seeds(args: argparse.Namespace, overrides: dict[str, float]) -> int:
    """Run many seeds and print how often each kind of event occurred; returns the exit code."""
    began = monotonic()

    def print_progress(tally: many_seeds.Tally) -> None:
        rate = tally.runs / (monotonic() - began)
        print(f"\r{tally.runs} runs, {rate:.0f} per second", end="", file=sys.stderr, flush=True)

    seeds = range(args.first, args.first + args.seeds)
    tally = many_seeds.run_in_processes(seeds, args.jobs, args.mutation, overrides, print_progress)
    print(file=sys.stderr)
    print(f"{tally.runs} runs, {tally.cpu_s / max(1, tally.runs) * 1000:.1f} ms of processor time per run")
    for event, count in sorted(tally.events.items()):
        print(f"{count:>9,}  {event}")
    if tally.failed is None:
        print("no violations")
        return 0
    return print_failure(*tally.failed, args.mutation)


def print_failure(seed: int, parameters: Parameters, mutation: str | None) -> int:
    """Shrink a failing run, and print its violations and the command that replays it; returns the exit code."""
    with mutations.active(mutation):
        print(f"seed {seed} fails; searching for a smaller run that fails in the same way")
        result = shrink(run(seed, parameters))
    print("\n".join(result.violations))
    print(result.parameters.replay_command(result.seed) + (f" --mutation {mutation}" if mutation else ""))
    return 1


def main() -> int:
    args = parse_arguments()
    overrides = {each.name: value for each in fields(Parameters) if (value := getattr(args, each.name)) is not None}
    return run_many_seeds(args, overrides) if args.seed is None else replay_seed(args, overrides)


if __name__ == "__main__":
    sys.exit(main())
