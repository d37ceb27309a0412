"""What a run is made of: its seed, and how much of each misfortune."""

from dataclasses import asdict, dataclass, fields, replace
from random import Random


@dataclass(frozen=True, slots=True)
class Parameters:
    """Numbers are counts, shares are between 0 and 1. None of anything: a quiet run."""

    sagas: int = 1
    pairs: int = 0  #: 1: two workers of each service share the partitions, and one may be dropped for good
    crashes: int = 0  #: how often a worker is killed, between any two effects
    duplicates: float = 0.0  #: how many records stand in their log twice
    strays: float = 0.0  #: how many requests come without a key, or on a wrong partition
    again: float = 0.0  #: how many users are requested again, with other data
    garbage: int = 0  #: records that are no messages
    denials: float = 0.0  #: how many are denied: no policy, a refused mail, or just so
    moods: float = 0.0  #: how many mails are refused by chance, whatever was said before
    flaky: float = 0.0  #: how many attempts fail
    errors: float = 0.0  #: how many steps fail for good, undos too
    deferred: float = 0.0  #: how many users' mails are deferred for up to two hours
    lost: float = 0.0  #: how many calls to the outside have their effect and no answer
    redrives: float = 0.0  #: how many dead letters an operator redrives as soon as they are there
    rollbacks: int = 0  #: how often an operator rolls back a saga at a random moment
    quarrels: float = 0.0  #: how many orders are given twice, or contradicted by a second operator
    overdue: int = 0  #: how often a saga is said to be overdue
    instant: int = 0  #: 1: the mock world takes no time, so that many steps need not wait

    def command(self, seed: int) -> str:
        """Replays it."""
        named = [f"--{name} {value:g}" for name, value in asdict(self).items() if value or name == "sagas"]
        return f"python -m tests.simulation --seed {seed} {' '.join(named)}"

    def milder(self) -> list["Parameters"]:
        """The same with less of something, the boldest first."""
        found = [replace(self, sagas=count) for count in range(1, self.sagas)]
        for knob in fields(self)[1:]:
            value = getattr(self, knob.name)
            if value:
                found.append(replace(self, **{knob.name: type(value)(0)}))
        for name in ("crashes", "rollbacks", "garbage", "overdue"):
            found += [replace(self, **{name: count}) for count in range(1, getattr(self, name))]
        return found


def drawn(seed: int, **fixed: float) -> Parameters:
    """What this seed brings: each misfortune is there in some runs, and absent in others."""
    dice = Random(f"{seed}:parameters")

    def some(most: float, odds: float = 0.6) -> float:
        return round(dice.random() * most, 2) if dice.random() < odds else 0.0

    parameters = Parameters(
        sagas=dice.randint(2, 4),
        pairs=int(dice.random() < 0.4),
        crashes=dice.choice((0, 1, 2, 3, 4)),
        duplicates=some(0.3),
        strays=some(0.5),
        again=some(0.5),
        garbage=dice.choice((0, 0, 0, 1)),
        denials=some(0.6),
        moods=some(0.4, 0.3),
        flaky=some(0.3),
        errors=some(0.4, 0.5),
        lost=some(0.2, 0.4),
        redrives=some(1.0),
        rollbacks=dice.choice((0, 0, 1, 2, 3)),
        quarrels=some(0.8),
        overdue=dice.choice((0, 0, 1, 3)),
        instant=int(dice.random() < 0.3),
        deferred=some(1.0, 0.4),
    )
    return replace(parameters, **fixed)
