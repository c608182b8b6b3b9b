"""What waits, how much of it fits, and what is known to fail."""

from hypothesis import given
from hypothesis import strategies as st

from larder.api.demand import Failure, WaitingModel
from larder.gateway.holding import Bytes, Failures, Room, Ticket


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


@given(st.integers(1, 100), st.lists(st.integers(0, 50)))
def test_reserved_bytes_never_exceed_the_bound_and_all_come_back(limit, amounts):
    pot = Bytes(limit)
    taken = [amount for amount in amounts if pot.reserve(amount)]
    assert pot.held == sum(taken) <= limit
    for amount in taken:
        pot.release(amount)
    assert pot.held == 0


def test_a_failure_is_believed_until_it_expires_or_the_model_is_resident():
    failures = Failures()
    failures.put(Failure("m", "why", 5.0), 10.0)
    assert failures.of("m", 14.9).message == "why"
    assert failures.of("m", 15.0) is None
    failures.put(Failure("m", "why", 5.0), 20.0)
    failures.forget("m")
    assert failures.of("m", 20.0) is None
