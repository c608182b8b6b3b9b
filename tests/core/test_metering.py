"""What readings of a pod's memory teach, as timelines: total, who stands there, and what follows."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from larder.core.metering import (
    COUNTS_LATE_SECONDS,
    LEAST_BYTES,
    NOISE_BYTES,
    Ledger,
    Lesson,
    Sample,
    Standing,
    killed_at_bytes,
    take,
    used_bytes,
    watch,
    withheld_bytes,
)
from tests.core.builders import MB

BASE = 100 * MB


def standing(megabytes, changing=False):
    return Standing(megabytes * MB, changing)


def read(ledger, megabytes, standings, at=0.0, used=(), *, own=None):
    """One reading of the empty server's base and so many megabytes more."""
    own_bytes = {name: size * MB for name, size in (own or {}).items()}
    return take(ledger, standings, Sample(BASE + megabytes * MB, BASE, at, own_bytes), dict(used))


def after(*steps):
    """The ledger after readings of (megabytes, standings)."""
    ledger = Ledger()
    for at, (megabytes, standings) in enumerate(steps):
        ledger, _ = read(ledger, megabytes, standings, float(at))
    return ledger


def test_a_size_is_learned_from_a_reading_before_and_one_after_the_load():
    ledger = after((0, {}), (20, {"a": standing(64, changing=True)}))
    _, lessons = read(ledger, 40, {"a": standing(64)}, 2.0)
    assert lessons == (Lesson("a", 40 * MB, whole=True),)


def test_no_size_is_learned_without_a_reading_before():
    ledger = after((20, {"a": standing(64, changing=True)}))
    assert read(ledger, 40, {"a": standing(64)})[1] == ()


def test_no_size_is_learned_when_another_model_changed_between():
    ledger = after((0, {}), (20, {"a": standing(64, True), "b": standing(64, True)}))
    assert read(ledger, 80, {"a": standing(64), "b": standing(64)})[1] == ()


def test_models_that_arrive_together_are_told_apart_by_their_own_processes():
    ledger = after((0, {}), (20, {"a": standing(64, True), "b": standing(64, True)}))
    _, lessons = read(ledger, 80, {"a": standing(64), "b": standing(64)}, own={"a": 30})
    assert lessons == (Lesson("a", 30 * MB, whole=True),)


def test_a_change_that_no_reading_saw_spoils_the_difference_all_the_same():
    ledger = watch(after((0, {}), (5, {"a": standing(64, True)})), {"a": standing(64, True), "b": standing(64, True)})
    assert read(ledger, 80, {"a": standing(64)})[1] == ()


def test_no_size_is_learned_while_what_left_before_is_not_seen_to_be_free():
    ledger = after(
        (60, {"a": standing(60)}), (60, {"a": standing(60, True)}), (60, {}), (10, {"b": standing(50, True)})
    )
    assert read(ledger, 50, {"b": standing(50)})[1] == ()


def test_a_size_is_learned_right_after_an_eviction_whose_memory_is_seen_to_be_free():
    ledger = after((60, {"a": standing(60)}), (30, {"a": standing(60, True)}), (0, {}), (9, {"b": standing(50, True)}))
    assert read(ledger, 45, {"b": standing(50)})[1] == (Lesson("b", 45 * MB, whole=True),)


def test_a_model_that_seems_to_take_nothing_counts_with_a_little():
    ledger = after((50, {}), (50, {"a": standing(64, True)}))
    assert read(ledger, 40, {"a": standing(64)})[1] == (Lesson("a", LEAST_BYTES, whole=True),)


def test_a_model_whose_own_process_takes_more_than_it_counts_with_counts_with_that_at_once():
    ledger = after((60, {"a": standing(60), "b": standing(10)}))
    _, lessons = read(ledger, 200, {"a": standing(60), "b": standing(10)}, own={"a": 180, "b": 9})
    assert lessons == (Lesson("a", 180 * MB),)


def test_growth_is_the_pods_at_once():
    ledger = after((60, {"a": standing(60)}))
    grown, lessons = read(ledger, 90, {"a": standing(60)}, 1.0)
    assert lessons == ()
    assert withheld_bytes(grown, {"a": standing(60)}) == 30 * MB


def growth(used):
    there = {"a": standing(30), "b": standing(30)}
    ledger = after((60, there))
    ledger, lessons = read(ledger, 90, there, 1.0, used)
    assert lessons == ()
    return read(ledger, 90, there, 1.0 + COUNTS_LATE_SECONDS, used)[1]


def test_growth_is_the_models_that_alone_executed_since():
    assert growth({"a": 0.5, "b": -9.0}) == (Lesson("a", 60 * MB),)


def test_growth_stays_the_pods_where_several_executed_or_none():
    assert growth({"a": 0.5, "b": 0.7}) == ()
    assert growth({}) == ()


def test_growth_that_the_model_accounts_for_is_withheld_no_more():
    there = {"a": standing(30)}
    ledger, _ = read(after((30, there)), 90, there, 1.0, {"a": 0.5})
    ledger, (lesson,) = read(ledger, 90, there, 9.0, {"a": 0.5})
    assert withheld_bytes(ledger, {"a": Standing(lesson.size_bytes)}) == 0


def test_what_an_unload_does_not_give_back_is_withheld_and_told():
    ledger = after((60, {"a": standing(60)}), (60, {"a": standing(60, True)}), (60, {}), (60, {}))
    assert withheld_bytes(ledger, {}) == 60 * MB
    assert (ledger.unreturned_bytes, ledger.steady) == (60 * MB, True)


def test_what_comes_back_late_is_free_when_it_is_seen():
    ledger = after((60, {"a": standing(60)}), (60, {"a": standing(60, True)}), (60, {}), (0, {}))
    assert withheld_bytes(ledger, {}) == 0
    assert ledger.unreturned_bytes == 0


def test_bytes_count_until_a_reading_shows_that_they_are_free():
    ledger = watch(after((60, {"a": standing(60)})), {"a": standing(60, True)})
    assert withheld_bytes(ledger, {}) == 60 * MB
    assert used_bytes(ledger, {}) == 0


def test_a_long_load_of_one_does_not_keep_what_another_gave_back():
    there = {"a": standing(60), "b": standing(50, True)}
    ledger = after((60, {"a": standing(60)}), (70, there), (10, {"b": standing(50, True)}))
    assert withheld_bytes(ledger, {"b": standing(50, True)}) == 10 * MB


def test_a_server_larger_than_its_base_is_withheld():
    assert withheld_bytes(after((25, {})), {}) == 25 * MB


def test_nothing_is_known_before_the_first_reading():
    assert used_bytes(Ledger(), {}) is None


def test_who_was_ended_for_want_of_memory_took_what_others_left():
    assert killed_at_bytes(70, 200, [30, 50]) == 120
    assert killed_at_bytes(70, None, [30]) == 70
    assert killed_at_bytes(None, None, [30]) is None


@given(st.lists(st.tuples(st.integers(0, 300), st.dictionaries(st.sampled_from("abc"), st.booleans())), max_size=12))
def test_nothing_withheld_is_ever_negative_and_quiet_readings_leave_no_byte_out(steps):
    ledger = Ledger()
    for at, (megabytes, seen) in enumerate(steps):
        there = {name: standing(40, changing) for name, changing in seen.items()}
        ledger, _ = read(ledger, megabytes, there, float(at))
        withheld = withheld_bytes(ledger, there)
        assert withheld >= 0
        if not any(seen.values()) and ledger.quiet is ledger.last:
            assert withheld + 40 * MB * len(there) >= megabytes * MB


class Timeline(RuleBasedStateMachine):
    """Models of true sizes load, grow and leave one after another; what is learned is never less than what is true."""

    @initialize()
    def begin(self):
        self.true, self.known, self.waste, self.now, self.ledger = {}, {}, 0, 0.0, Ledger()
        self.look()

    def standings(self, changing=()):
        return {name: Standing(self.known.get(name, 64 * MB), name in changing) for name in self.true}

    def look(self, changing=(), used=()):
        self.now += 1.0
        sample = Sample(BASE + self.waste + sum(self.true.values()), BASE, self.now)
        executed = dict.fromkeys(used, self.now)
        self.ledger, lessons = take(self.ledger, self.standings(changing), sample, executed)
        for lesson in lessons:
            self.known[lesson.model] = max(self.known.get(lesson.model, 0), lesson.size_bytes)

    @rule(name=st.sampled_from("abcd"), megabytes=st.integers(3, 90))
    def load(self, name, megabytes):
        if name in self.true:
            return
        self.look()
        self.true[name] = 0
        self.ledger = watch(self.ledger, self.standings({name}))
        self.true[name] = megabytes * MB
        self.look()
        assert self.known.get(name, 64 * MB) >= megabytes * MB or name not in self.known

    @rule(name=st.sampled_from("abcd"), kept=st.booleans())
    def unload(self, name, kept):
        if name not in self.true:
            return
        self.ledger = watch(self.ledger, self.standings({name}))
        size = self.true.pop(name)
        self.waste += size if kept else 0
        self.look()

    @rule(name=st.sampled_from("abcd"), megabytes=st.integers(3, 50))
    def grow(self, name, megabytes):
        if name in self.true:
            self.true[name] += megabytes * MB
            self.look(used=(name,))

    @invariant()
    def what_counts_is_never_less_than_what_is_taken(self):
        if not hasattr(self, "ledger"):
            return
        there = self.standings()
        counted = sum(one.counted_bytes for one in there.values()) + withheld_bytes(self.ledger, there)
        assert counted + NOISE_BYTES >= self.waste + sum(self.true.values())


TestTimeline = Timeline.TestCase
