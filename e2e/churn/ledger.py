"""What a run has done so far, kept in one file after every phase, so that an interrupted run goes on."""

import json
from dataclasses import dataclass
from pathlib import Path

from e2e.churn.plan import Plan
from e2e.churn.tally import Tally, from_json
from e2e.cluster.store import digest, write


@dataclass(frozen=True, slots=True)
class Ledger:
    """The file of a plan. Another plan of the same name begins anew."""

    path: Path
    plan: Plan

    def read(self) -> list[Tally]:
        """Return the phases that are done, in order; none where there is no file, or it is of another plan."""
        try:
            kept = json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            return []
        return [from_json(tally) for tally in kept["phases"]] if kept["plan"] == digest([repr(self.plan)]) else []

    def write(self, tallies: list[Tally]) -> None:
        """Keep the phases that are done."""
        kept = {"plan": digest([repr(self.plan)]), "phases": [tally.as_json() for tally in tallies]}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write(self.path, json.dumps(kept))

    def forget(self) -> None:
        """Begin anew the next time."""
        self.path.unlink(missing_ok=True)
