"""The policy of each department, read from a YAML file at the start."""

import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated, NoReturn

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from saga_app.saga.text import clean_department


class Department(BaseModel):
    """Device type and authorizations of a department."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    device: str = Field(pattern=r"^[A-Z]{1,8}$")
    authorizations: list[str] = Field(min_length=1)


class Departments(BaseModel):
    """The schema of the policy file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    departments: dict[Annotated[str, AfterValidator(clean_department)], Department]


def load(path: Path | None = None) -> dict[str, Department]:
    """Load the departments from a policy file; None: from the one in the package.

    A missing or invalid file ends the process (exit code 2) with one line that names the problem.
    """
    source = path or files("saga_app.service") / "policy.yaml"
    try:
        return Departments.model_validate(yaml.safe_load(source.read_text("utf-8"))).departments
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        _stop(path, f"{place}: {first['msg']}")
    except OSError as error:
        _stop(path, error.strerror or type(error).__name__)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: invalid UTF-8, or an invalid date
        _stop(path, str(error))
    except RecursionError:
        _stop(path, "it is nested too deeply")


def _stop(path: Path | None, why: str) -> NoReturn:
    problem = " ".join(why.split())  # errors of YAML have several lines
    print(
        f"SAGA_POLICY={path} is invalid; allowed: a YAML file like saga_app/service/policy.yaml ({problem})",
        file=sys.stderr,
    )
    raise SystemExit(2) from None
