"""What became of the requests for each Model, read from the counters that Envoy's workers keep in shared memory.

A worker counts in a file of its own: for each field a column of `SLOTS` numbers, a Model's at its slot on the board.
They are summed over workers, those of an Envoy that has ended included. A slot that passes to another Model begins at
what it held then. A request counts when the head of its answer leaves; one that the client gave up does not.
"""

import mmap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import add
from pathlib import Path
from typing import Final

from larder.api.demand import ModelCount
from larder.gateway.board import SLOTS

BOUNDS_SECONDS: Final = (0.005, 0.02, 0.05, 0.1, 0.25, 1.0, 10.0)
"""Upper bounds of the histogram's buckets; the eighth is +Inf."""
CLASSES: Final = ("ok", "client", "server")
"""Label `class`: right answers, errors of the client, errors of the server. Short names: there are many of them."""
OK, CLIENT_ERROR, SERVER_ERROR, MET, MISSED, SUM, FIRST_BUCKET = range(7)
FIELDS: Final = FIRST_BUCKET + len(BOUNDS_SECONDS) + 1
_NUMBER_BYTES: Final = 8
_PREFIX: Final = "larder_"
_HEADS: Final = {
    "requests_total": "counter",
    "met_total": "counter",
    "missed_total": "counter",
    "seconds": "histogram",
}

Totals = tuple[float, ...]
"""The fields of one Model."""


@dataclass(frozen=True, slots=True)
class _Owner:
    name: str
    base: Totals


class Tallies:
    """Reads the counters of one gateway pod."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._columns: dict[str, memoryview[float]] = {}
        self._owners: dict[int, _Owner] = {}
        self._told: dict[str, tuple[float, float, float]] = {}
        self._requests = [0.0] * SLOTS

    def own(self, slots: Mapping[str, int]) -> None:
        """Take over which Model has which slot."""
        columns = self._read(range(FIELDS))
        kept = {slot: self._owners[slot] for name, slot in slots.items() if self._has(slot, name)}
        new = {
            slot: _Owner(name, tuple(column[slot] for column in columns))
            for name, slot in slots.items()
            if slot not in kept
        }
        self._owners = kept | new
        self._told = {name: told for name, told in self._told.items() if name in slots}

    def growth(self) -> dict[str, ModelCount]:
        """Return what was added since the last call, by Model that had any."""
        ok, client, server, met, missed = self._read((OK, CLIENT_ERROR, SERVER_ERROR, MET, MISSED))
        before, self._requests = self._requests, list(map(sum, zip(ok, client, server, strict=True)))
        moved = [slot for slot, (old, new) in enumerate(zip(before, self._requests, strict=True)) if old != new]
        grown = {}
        for owner, slot in ((self._owners[slot], slot) for slot in moved if slot in self._owners):
            base = owner.base
            requests = self._requests[slot] - base[OK] - base[CLIENT_ERROR] - base[SERVER_ERROR]
            now = (requests, met[slot] - base[MET], missed[slot] - base[MISSED])
            told, self._told[owner.name] = self._told.get(owner.name, (0.0, 0.0, 0.0)), now
            count, good, bad = (int(new - old) for new, old in zip(now, told, strict=True))
            if count:
                grown[owner.name] = ModelCount(count, None, good, bad)
        return grown

    def totals(self) -> dict[str, Totals]:
        """Return the fields of each Model that was asked for."""
        columns = self._read(range(FIELDS))
        found = {
            owner.name: tuple(column[slot] - owner.base[field] for field, column in enumerate(columns))
            for slot, owner in self._owners.items()
        }
        return {name: totals for name, totals in found.items() if any(totals)}

    def close(self) -> None:
        """Let the files go."""
        self._columns.clear()

    def _has(self, slot: int, name: str) -> bool:
        owner = self._owners.get(slot)
        return owner is not None and owner.name == name

    def _read(self, fields: Iterable[int]) -> list[list[float]]:
        """Return whole columns, summed over workers."""
        self._find()
        zero = [0.0] * SLOTS
        found = []
        for field in fields:
            column = zero
            for numbers in self._columns.values():
                column = list(map(add, column, numbers[field * SLOTS : (field + 1) * SLOTS].tolist()))
            found.append(column)
        return found

    def _find(self) -> None:
        for path in self._folder.glob("counters-*"):
            if path.name not in self._columns and path.stat().st_size >= FIELDS * SLOTS * _NUMBER_BYTES:
                with path.open("rb") as file:
                    mapped = mmap.mmap(file.fileno(), FIELDS * SLOTS * _NUMBER_BYTES, access=mmap.ACCESS_READ)
                self._columns[path.name] = memoryview(mapped).cast("d")


def render(totals: Mapping[str, Totals]) -> str:
    """Return Prometheus' text: 15 series a Model."""
    lines: dict[str, list[str]] = {name: [f"# TYPE {_PREFIX}{name} {kind}"] for name, kind in _HEADS.items()}
    for model, fields in totals.items():
        label = f'{{model="{_escape(model)}"'
        for number, outcome in enumerate(CLASSES):
            lines["requests_total"].append(f'{_PREFIX}requests_total{label},class="{outcome}"}} {fields[number]:.0f}')
        lines["met_total"].append(f"{_PREFIX}met_total{label}}} {fields[MET]:.0f}")
        lines["missed_total"].append(f"{_PREFIX}missed_total{label}}} {fields[MISSED]:.0f}")
        lines["seconds"] += _histogram(label, fields)
    return "".join(f"{line}\n" for family in lines.values() for line in family)


def _histogram(label: str, fields: Totals) -> list[str]:
    lines, count = [], 0.0
    for bound, added in zip([*(f"{b:g}" for b in BOUNDS_SECONDS), "+Inf"], fields[FIRST_BUCKET:], strict=True):
        count += added
        lines.append(f'{_PREFIX}seconds_bucket{label},le="{bound}"}} {count:.0f}')
    lines.append(f"{_PREFIX}seconds_sum{label}}} {fields[SUM]:.6g}")
    return [*lines, f"{_PREFIX}seconds_count{label}}} {count:.0f}"]


def _escape(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
