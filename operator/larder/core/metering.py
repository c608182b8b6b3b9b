"""What readings of one pod's real memory teach: sizes of models, growth between changes, bytes that no model explains.

A size is learned only from a reading before and one after a load with no other change between. What is above all that
is counted is withheld from the pod: growth, what an unload did not give back, a server larger than its base. Bytes of
what left count until a reading shows that they are free.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

MIB = 2**20
NOISE_BYTES = 2 * MIB
"""Differences up to here are the server's own breathing."""
LEAST_BYTES = MIB
"""No model counts with less, however little it seemed to take."""
COUNTS_LATE_SECONDS = 2.5
"""Growth is told to a model only after so long: by then it is known who executed."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One model on the pod: the bytes it counts with now, and whether Triton is loading or unloading it."""

    counted_bytes: int
    is_changing: bool = False


Standings = Mapping[str, Standing]


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading: what all takes together, what models' own processes take where that is known apart, and the base:
    what is counted of it besides models.
    """

    total_bytes: int
    base_bytes: int
    at_seconds: float
    own_bytes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class View:
    """What a reading saw: the pod's total, and who stood there; `settled` are those that were not changing."""

    sample: Sample
    standing: Mapping[str, int]
    settled: frozenset[str]


@dataclass(frozen=True, slots=True)
class Lesson:
    """A model takes at least so much; `whole`: that is what its load took, as measured."""

    model: str
    size_bytes: int
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Ledger:
    """One container. `quiet` is the last reading at which nothing changed, `last` the last of all.

    `touched` changed since the quiet one. `steady`: what left before the quiet reading was seen to be released by then.
    `grown` are the reading before growth that is nobody's yet, and when the growth was seen. `unreturned_bytes` did not
    come back when models left.
    """

    quiet: View | None = None
    last: View | None = None
    touched: Mapping[str, int] = field(default_factory=dict)
    steady: bool = False
    grown: tuple[View, float] | None = None
    unreturned_bytes: int = 0


def watch(ledger: Ledger, standings: Standings) -> Ledger:
    """Note who is changing now; called often enough that no change begins and ends unseen."""
    seen = dict(ledger.touched)
    for name, standing in standings.items():
        if standing.is_changing:
            seen[name] = standing.counted_bytes
    if ledger.quiet is not None:
        seen |= {name: size for name, size in ledger.quiet.standing.items() if name not in standings}
        seen |= {n: s.counted_bytes for n, s in standings.items() if n not in ledger.quiet.standing}
    return ledger if seen == ledger.touched else replace(ledger, touched=seen)


def take(
    ledger: Ledger, standings: Standings, sample: Sample, used_seconds: Mapping[str, float]
) -> tuple[Ledger, tuple[Lesson, ...]]:
    """Return the ledger with one more reading, and what it teaches. `used_seconds` says when models last executed."""
    ledger = watch(ledger, standings)
    lessons = [
        Lesson(name, own)
        for name, own in sample.own_bytes.items()
        if name in standings and own > standings[name].counted_bytes
    ]
    view = _view(standings, sample)
    if any(standing.is_changing for standing in standings.values()):
        return replace(ledger, last=view), tuple(lessons)
    if ledger.touched or ledger.quiet is None:
        lessons += _after_a_load(ledger, standings, sample)
        return _settled(ledger, view), tuple(lessons)
    ledger, grown = _growth(ledger, standings, view, used_seconds)
    return ledger, (*lessons, *grown)


def withheld_bytes(ledger: Ledger, standings: Standings) -> int:
    """What the pod takes beyond all that is counted, as far as readings show; what left counts until seen released.

    The last reading tells where nothing changed since the quiet one. Else two bounds hold, of the quiet reading and of
    the last; the lower one is nearer the truth.
    """
    if ledger.quiet is None or ledger.last is None:
        return 0
    if not ledger.touched:
        return max(0, _beyond(ledger.last, standings))
    gone = sum(s for n, s in ledger.touched.items() if n not in standings and n not in ledger.quiet.standing)
    return max(0, min(_beyond(ledger.quiet, standings) + gone, _beyond(ledger.last, standings)))


def used_bytes(ledger: Ledger, standings: Standings) -> int | None:
    """What is really used beyond the base, less what left since the last reading; None: no reading yet."""
    if ledger.last is None:
        return None
    left = sum(size for name, size in ledger.last.standing.items() if name not in standings)
    return max(0, ledger.last.sample.total_bytes - ledger.last.sample.base_bytes - left)


def _view(standings: Standings, sample: Sample) -> View:
    counted = {name: standing.counted_bytes for name, standing in standings.items()}
    return View(sample, counted, frozenset(name for name, s in standings.items() if not s.is_changing))


def _beyond(view: View, standings: Standings) -> int:
    """The reading less what is counted now of what was settled then and is still there."""
    counted = sum(standings[name].counted_bytes for name in view.settled if name in standings)
    return view.sample.total_bytes - view.sample.base_bytes - counted


def _settled(ledger: Ledger, view: View) -> Ledger:
    """A quiet reading after changes. It is steady where all that left is seen to be free."""
    if ledger.quiet is None:
        return Ledger(view, view, steady=True)
    if all(name in view.standing for name in ledger.touched):
        return Ledger(view, view, steady=True, unreturned_bytes=ledger.unreturned_bytes)
    kept = max(0, _excess(view) - _excess(ledger.quiet))
    return Ledger(view, view, {}, kept <= NOISE_BYTES, unreturned_bytes=ledger.unreturned_bytes + kept)


def _excess(view: View) -> int:
    return view.sample.total_bytes - view.sample.base_bytes - sum(view.standing.values())


def _after_a_load(ledger: Ledger, standings: Standings, sample: Sample) -> list[Lesson]:
    """The sizes of models that arrived since a quiet reading: of one alone since a steady one the difference, of any
    that has a process of its own at least what that takes.
    """
    before = ledger.quiet
    if before is None:
        return []
    arrived = [name for name in ledger.touched if name in standings and name not in before.standing]
    sizes = {name: sample.own_bytes[name] for name in arrived if name in sample.own_bytes}
    if ledger.steady and len(ledger.touched) == 1 and arrived:
        sizes[arrived[0]] = max(sample.total_bytes - before.sample.total_bytes, sizes.get(arrived[0], 0))
    return [Lesson(name, max(LEAST_BYTES, size), whole=True) for name, size in sizes.items()]


def _growth(
    ledger: Ledger, standings: Standings, view: View, used_seconds: Mapping[str, float]
) -> tuple[Ledger, list[Lesson]]:
    """Nothing changed since the last reading: what grew is the pod's, or the model's that alone executed meanwhile."""
    assert ledger.quiet is not None, "who calls has a quiet reading"
    moved, now = view.sample.total_bytes - ledger.quiet.sample.total_bytes, view.sample.at_seconds
    settled = Ledger(
        quiet=view,
        last=view,
        steady=ledger.steady or abs(moved) <= NOISE_BYTES,
        grown=ledger.grown or ((ledger.quiet, now) if moved > NOISE_BYTES else None),
        unreturned_bytes=max(0, ledger.unreturned_bytes + min(0, moved)),
    )
    if settled.grown is None or now - settled.grown[1] < COUNTS_LATE_SECONDS:
        return settled, []
    before = settled.grown[0].sample
    executed = [n for n in standings if used_seconds.get(n, float("-inf")) >= before.at_seconds]
    grown = view.sample.total_bytes - before.total_bytes
    lessons = [Lesson(executed[0], standings[executed[0]].counted_bytes + grown)] if len(executed) == 1 else []
    return replace(settled, grown=None), [lesson for lesson in lessons if grown > NOISE_BYTES]


def killed_at_bytes(own_bytes: int | None, limit_bytes: int | None, others_bytes: Iterable[int]) -> int | None:
    """A lower bound of what a model took when the kernel ended it: all of the limit that others did not take."""
    known = [own_bytes] if own_bytes is not None else []
    if limit_bytes is not None:
        known.append(limit_bytes - sum(others_bytes))
    return max(known, default=None)
