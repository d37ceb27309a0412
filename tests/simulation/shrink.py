"""Reduces a failing run to a small one that fails in the same way."""

from tests.simulation.run import Result, run

#: How many other seeds are tried for each reduction, because a removed fault changes the course of the run.
SEEDS_PER_REDUCTION = 40


def shrink(result: Result) -> Result:
    """The smallest failing run that is found by reducing one parameter after the other."""
    while (smaller := _smaller_failure(result)) is not None:
        result = smaller
    return result


def _smaller_failure(result: Result) -> Result | None:
    kinds = violation_kinds(result)
    for parameters in result.parameters.reduced():
        for seed in (result.seed, *range(SEEDS_PER_REDUCTION)):
            found = run(seed, parameters)
            if violation_kinds(found) & kinds:
                return found
    return None


def violation_kinds(result: Result) -> set[str]:
    """The sentences of all violations, without saga ids and numbers."""
    sentences = (violation.split(": ", 1)[-1] for violation in result.violations)
    return {"".join(c for c in sentence if c.isalpha() or c == " ") for sentence in sentences}
