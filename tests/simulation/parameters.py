"""The parameters of a run: its size, and the kinds and amounts of faults."""

from dataclasses import asdict, dataclass, fields, replace
from random import Random


@dataclass(frozen=True, slots=True)
class Parameters:
    """`int` fields are counts (or 1 for true), `float` fields are shares between 0 and 1. By default nothing fails."""

    sagas: int = 1
    extra_workers: int = 0  #: workers of each service besides the first; a killed one is sometimes not restarted
    crashes: int = 0  #: workers that are killed, each between any two effects
    duplicates: float = 0.0  #: records that are in their log twice
    misplaced: float = 0.0  #: requests without a key, or on a wrong partition
    repeated_users: float = 0.0  #: users that are requested a second time, with other data
    garbage: int = 0  #: records that are not valid messages
    denials: float = 0.0  #: sagas that are denied: no policy, a refused mail, or an injected denial
    random_refusals: float = 0.0  #: mails that are refused at random, so that a repeated call can have another result
    flaky: float = 0.0  #: attempts that fail
    errors: float = 0.0  #: steps and compensations that fail permanently
    deferred_mails: float = 0.0  #: users whose mails are deferred for up to two hours
    lost_replies: float = 0.0  #: external calls that have their effect, but no reply
    redrives: float = 0.0  #: dead letters that an operator redrives at once
    rollbacks: int = 0  #: sagas that an operator rolls back at a random time
    second_signals: float = 0.0  #: operator signals that a second operator repeats or contradicts
    overdue: int = 0  #: overdue signals at random times
    instant: int = 0  #: 1: no injected lag, so that many handlers finish without waiting
    idempotent_mail: int = 0  #: 1: the mail server recognises a repeated mail by its key, so results are not recorded

    def replay_command(self, seed: int) -> str:
        """The command that runs a seed with these parameters."""
        options = [f"{option_name(name)} {value:g}" for name, value in asdict(self).items() if value or name == "sagas"]
        return f"python -m tests.simulation --seed {seed} {' '.join(options)}"

    def with_values(self, **values: float) -> "Parameters":
        """A copy with other values for these fields."""
        return Parameters(**(asdict(self) | values))

    def reduced(self) -> list["Parameters"]:
        """Copies with less of one parameter, those with the largest reductions first."""
        found = [replace(self, sagas=count) for count in range(1, self.sagas)]
        for parameter in fields(self)[1:]:
            value = getattr(self, parameter.name)
            if value:
                found.append(replace(self, **{parameter.name: type(value)(0)}))
        for name in ("crashes", "rollbacks", "garbage", "overdue"):
            found += [replace(self, **{name: count}) for count in range(1, getattr(self, name))]
        return found


def option_name(parameter: str) -> str:
    """The command-line option of a parameter."""
    return f"--{parameter.replace('_', '-')}"


def draw_parameters(seed: int, **overrides: float) -> Parameters:
    """The parameters of a seed, with some replaced. Each fault occurs in some runs and not in others."""
    dice = Random(f"{seed}:parameters")

    def draw_share(limit: float, probability: float = 0.6) -> float:
        return round(dice.random() * limit, 2) if dice.random() < probability else 0.0

    parameters = Parameters(
        sagas=dice.randint(2, 4),
        extra_workers=int(dice.random() < 0.4),
        crashes=dice.choice((0, 1, 2, 3, 4)),
        duplicates=draw_share(0.3),
        misplaced=draw_share(0.5),
        repeated_users=draw_share(0.5),
        garbage=dice.choice((0, 0, 0, 1)),
        denials=draw_share(0.6),
        random_refusals=draw_share(0.4, 0.3),
        flaky=draw_share(0.3),
        errors=draw_share(0.4, 0.5),
        lost_replies=draw_share(0.2, 0.4),
        redrives=draw_share(1.0),
        rollbacks=dice.choice((0, 0, 1, 2, 3)),
        second_signals=draw_share(0.8),
        overdue=dice.choice((0, 0, 1, 3)),
        instant=int(dice.random() < 0.3),
        deferred_mails=draw_share(1.0, 0.4),
        idempotent_mail=int(dice.random() < 0.2),
    )
    return parameters.with_values(**overrides)
