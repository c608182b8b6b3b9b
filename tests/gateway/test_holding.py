"""What waits, how much of it fits, and what is known to fail."""

from hypothesis import given
from hypothesis import strategies as st

from larder.api.demand import Failure, WaitingModel
from larder.gateway.holding import Failures, Held, Room, Ticket


def test_waiting_requests_are_told_as_counts_ages_and_remainders():
    room = Room()
    for arrived, deadline in ((10.0, 70.0), (12.0, 20.0)):
        room.enter(Ticket("m", arrived, deadline))
    assert room.waiting(15.0).models == {"m": WaitingModel(2, 5.0, 5.0)}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans())))
def test_who_left_is_not_counted_and_an_empty_model_is_not_named(steps):
    room, inside = Room(), []
    for model, leaves in steps:
        if leaves and inside:
            ticket = inside.pop()
            room.leave(ticket)
            room.leave(ticket)
        else:
            inside.append(Ticket(model, 0.0, 1.0))
            room.enter(inside[-1])
    counts = {model: sum(ticket.model == model for ticket in inside) for model in "ab"}
    assert room.counts() == {model: count for model, count in counts.items() if count}
    assert len(room) == len(inside)


@given(st.integers(1, 100), st.integers(1, 9), st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 50))))
def test_what_is_held_never_exceeds_the_bounds_and_all_comes_back(most_bytes, most_requests, asked):
    held, taken = Held(most_bytes, most_requests), []
    for model, amount in asked:
        if held.admit(model):
            taken.append((model, amount if held.reserve(model, amount) else 0))
    assert held.bytes == sum(amount for _, amount in taken) <= most_bytes
    assert held.requests == len(taken) <= most_requests
    for model in "ab":
        assert len([m for m, _ in taken if m == model]) <= max(1, most_requests // 2)
    for model, amount in taken:
        held.release(model, amount)
    assert (held.bytes, held.requests) == (0, 0)


def test_one_model_takes_at_most_half_of_what_may_be_held():
    held = Held(100, 10)
    assert all(held.admit("a") and held.reserve("a", 10) for _ in range(5))
    assert not held.admit("a")
    assert held.admit("b")
    assert held.reserve("b", 40)
    assert held.admit("b")
    assert not held.reserve("b", 20)


def test_a_request_that_alone_is_larger_than_a_models_half_is_held():
    held = Held(100, 10)
    assert held.admit("a")
    assert held.reserve("a", 90)
    assert not (held.admit("a") and held.reserve("a", 5))


def test_the_line_is_by_deadline_and_then_by_arrival():
    room = Room()
    tickets = [Ticket("m", 0.0, 60.0), Ticket("m", 1.0, 60.0), Ticket("m", 2.0, 30.0), Ticket("m", 3.0, 60.0, 5.0)]
    for ticket in tickets:
        room.enter(ticket)
    assert room.line("m") == [tickets[3], tickets[2], tickets[0], tickets[1]]
    assert room.leave(tickets[3])
    assert not room.leave(tickets[3])
    assert room.first("m") is tickets[2]


def test_who_only_waits_for_a_turn_asks_for_no_copy():
    room = Room()
    room.enter(Ticket("m", 0.0, 60.0))
    assert room.pace("m", is_served=True)
    assert not room.pace("m", is_served=True)
    assert room.waiting(1.0).models == {}
    assert room.pace("m", is_served=False)
    assert room.waiting(1.0).models == {"m": WaitingModel(1, 1.0, 59.0)}


def test_a_model_stays_wanted_for_those_whom_it_came_too_late_for():
    room = Room()
    room.promise("m", 1.0, 4.0)
    assert room.waiting(2.0).models == {"m": WaitingModel(1, 1.0, 2.0)}
    assert not room.end_promises(3.0, ())
    assert room.end_promises(3.0, ("m",))
    room.promise("m", 5.0, 8.0)
    assert room.end_promises(8.0, ())
    assert room.waiting(8.0).models == {}


def test_a_failure_is_believed_until_it_expires_or_the_model_is_resident():
    failures = Failures()
    failures.put(Failure("m", "why", 5.0), 10.0)
    assert failures.of("m", 14.9).message == "why"
    assert failures.of("m", 15.0) is None
    failures.put(Failure("m", "why", 5.0), 20.0)
    failures.forget("m")
    assert failures.of("m", 20.0) is None
