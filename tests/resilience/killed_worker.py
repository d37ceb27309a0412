"""A worker that kills itself at the end of one stage of a record. Environment: `KILLED_SERVICE`, and `KILLED_AFTER`."""

import importlib
import os

from tests.resilience.stages import STAGES, kill_at_end_of

kill_at_end_of(STAGES[os.environ["KILLED_AFTER"]])
app = importlib.import_module(f"agents.{os.environ['KILLED_SERVICE']}").app
