"""The demand stream's messages survive the wire, and nothing else does."""

import pytest

from larder.api import demand
from larder.api.residency import Residency, Resident
from larder.errors import InvalidInputError

MESSAGES = [
    demand.Waiting({"resnet": demand.WaitingModel(3, 0.25, 59.5)}),
    demand.Waiting(),
    demand.Seen({"uid-1": (2, 17)}),
    demand.Dead("resnet", "uid"),
    demand.Counts(1.0, {"resnet": demand.ModelCount(40, None), "bert": demand.ModelCount(0, 2, 3, 1)}),
    demand.Hint("uid-1", Residency("containerd://1", 2, 18, {"resnet": Resident("r2", 10, 1.0)})),
    demand.Failure("resnet", "no such file", 4.0),
    demand.Prediction("resnet", 2.5),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_is_read_as_it_was_written(message: demand.Message) -> None:
    assert demand.decode_message(demand.encode_message(message)) == message


@pytest.mark.parametrize("text", ["", "3", "{}", '{"type":"Load"}', '{"type":"Seen","pods":{"u":[1]}}'])
def test_anything_else_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(InvalidInputError, match="demand stream message"):
        demand.decode_message(text)


def test_counts_of_a_gateway_that_tells_less_or_more_are_read() -> None:
    text = '{"type":"Counts","interval":1,"models":{"a":[4,null],"b":[4,1,3,1,"new"]}}'
    told = demand.decode_message(text)
    assert told == demand.Counts(1.0, {"a": demand.ModelCount(4), "b": demand.ModelCount(4, 1, 3, 1)})
