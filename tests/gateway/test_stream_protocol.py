"""What is read of the messages of a stream is what protobuf reads of them."""

from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from larder.gateway import stream_protocol

NAMES = st.text(max_size=20)
FLAGS = st.sampled_from([None, False, True])


@given(model=NAMES, request_id=NAMES, asks=FLAGS, timeout=st.none() | st.integers(1, 2**40), raw=st.binary(max_size=50))
def test_a_message_is_read_as_protobuf_reads_it(model, request_id, asks, timeout, raw):
    request = service_pb2.ModelInferRequest(model_name=model, id=request_id, raw_input_contents=[raw])
    if asks is not None:
        request.parameters["triton_enable_empty_final_response"].bool_param = asks
    if timeout is not None:
        request.parameters["timeout"].int64_param = timeout
    read = stream_protocol.parse_message(request.SerializeToString())
    assert (read.model, read.id, read.wants_end) == (model, request_id, bool(asks))
    assert read.timeout_seconds == (None if timeout is None else timeout / 1e6)


@given(request_id=NAMES, error=NAMES, final=FLAGS, outputs=st.integers(0, 2))
def test_an_answer_is_read_as_protobuf_reads_it(request_id, error, final, outputs):
    answer = service_pb2.ModelStreamInferResponse(error_message=error)
    answer.infer_response.id = request_id
    for _ in range(outputs):
        answer.infer_response.outputs.add(name="OUT", datatype="INT32", shape=[1])
    if final is not None:
        answer.infer_response.parameters["triton_final_response"].bool_param = final
    read = stream_protocol.parse_answer(answer.SerializeToString())
    assert (read.id, read.error, read.empty) == (request_id, error, outputs == 0)
    assert read.final == (bool(final) or (bool(error) and final is None))


@given(asks=FLAGS)
def test_the_end_is_asked_for_whatever_the_client_asked(asks):
    request = service_pb2.ModelInferRequest(model_name="m", id="1")
    if asks is not None:
        request.parameters["triton_enable_empty_final_response"].bool_param = asks
    sent = service_pb2.ModelInferRequest.FromString(stream_protocol.asking_for_the_end(request.SerializeToString()))
    assert sent.parameters["triton_enable_empty_final_response"].bool_param
    assert (sent.model_name, sent.id) == ("m", "1")


def test_only_what_triton_says_by_itself_of_an_unknown_model_means_that_it_is_not_there():
    message = stream_protocol.Message("m", "1", wants_end=False, timeout_seconds=None)
    for sentence in (
        "Request for unknown model: 'm' is not found",
        "Request for unknown model: 'm' is not at ready state",
    ):
        assert stream_protocol.parse_answer(stream_protocol.error(message, sentence)).not_there
    said_by_a_model = service_pb2.ModelStreamInferResponse(error_message="Request for unknown model: 'm' is not found")
    said_by_a_model.infer_response.parameters["triton_final_response"].bool_param = True
    assert not stream_protocol.parse_answer(said_by_a_model.SerializeToString()).not_there
    assert not stream_protocol.parse_answer(stream_protocol.error(message, "unexpected input")).not_there
