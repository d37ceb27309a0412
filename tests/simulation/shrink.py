"""Of a run that fails the smallest that still does: fewer sagas, fewer crashes, no duplicates, no errors."""

from tests.simulation.run import Result, run

#: One misfortune less moves all that follows, so another seed of the smaller run may be the one that fails.
NEARBY = 40


def shrunk(result: Result) -> Result:
    """The smallest run with the same fault that is found by taking away one thing after the other."""
    while (smaller := _smaller(result)) is not None:
        result = smaller
    return result


def _smaller(result: Result) -> Result | None:
    fault = kinds(result)
    for parameters in result.parameters.milder():
        for seed in (result.seed, *range(NEARBY)):
            found = run(seed, parameters)
            if kinds(found) & fault:
                return found
    return None


def kinds(result: Result) -> set[str]:
    """What is wrong, whatever saga it is about, and however often."""
    return {"".join(c for c in sentence.split(": ", 1)[-1] if c.isalpha() or c == " ") for sentence in result.wrong}
