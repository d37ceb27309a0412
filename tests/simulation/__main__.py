"""Runs the simulation: many seeds, or one that is replayed.

python -m tests.simulation --seeds 10000 [--from N] [--jobs 2] [--mutation NAME] [parameters]
python -m tests.simulation --seed 4711 [parameters]       with parameters named, those not named are none
"""

import argparse
import sys
from dataclasses import fields
from time import monotonic

from tests.simulation import many_seeds, mutations
from tests.simulation.parameters import Parameters, drawn
from tests.simulation.report import story
from tests.simulation.run import Result, run
from tests.simulation.shrink import shrunk


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="All services, with a seed.")
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--seeds", type=int, default=1000, help="how many to run (default: 1000)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first one (default: 0)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--mutation", choices=sorted(mutations.MUTATIONS), help="break the code in this way")
    parser.add_argument("--story", action="store_true", help="with --seed: every record, in order")
    for knob in fields(Parameters):
        parser.add_argument(f"--{knob.name}", type=type(knob.default), help=argparse.SUPPRESS)
    return parser.parse_args()


def replay(args: argparse.Namespace, named: dict[str, float]) -> int:
    parameters = Parameters(**named) if named else drawn(args.seed)  # type: ignore[arg-type]
    with mutations.active(args.mutation):
        result = run(args.seed, parameters, keep=True)
    if args.story or result.wrong:
        print("\n".join(story(result)))
    return say(result)


def say(result: Result) -> int:
    """The verdict on one run; the exit code."""
    print("\n".join(result.wrong) or "every saga ended as it must")
    return int(bool(result.wrong))


def many(args: argparse.Namespace, named: dict[str, float]) -> int:
    began = monotonic()

    def progress(tally: many_seeds.Tally) -> None:
        spent = monotonic() - began
        print(f"\r{tally.runs} runs, {tally.runs / spent:.0f} a second", end="", file=sys.stderr, flush=True)

    seeds = range(args.first, args.first + args.seeds)
    tally = many_seeds.play(seeds, args.jobs, args.mutation, named, progress)
    print(file=sys.stderr)
    print(f"{tally.runs} runs, {tally.seconds / max(1, tally.runs) * 1000:.1f} ms of processor time each")
    for what, count in sorted(tally.happened.items()):
        print(f"{count:>9,}  {what}")
    if tally.failed is None:
        print("every saga ended as it must")
        return 0
    return report(*tally.failed, args.mutation)


def report(seed: int, parameters: Parameters, mutation: str | None) -> int:
    """A failing seed, shrunk."""
    with mutations.active(mutation):
        print(f"seed {seed} fails; looking for less that still does")
        result = shrunk(run(seed, parameters))
    print("\n".join(result.wrong))
    print(result.parameters.command(result.seed) + (f" --mutation {mutation}" if mutation else ""))
    return 1


def main() -> int:
    args = arguments()
    named = {knob.name: value for knob in fields(Parameters) if (value := getattr(args, knob.name)) is not None}
    return many(args, named) if args.seed is None else replay(args, named)


if __name__ == "__main__":
    sys.exit(main())
