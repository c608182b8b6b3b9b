import asyncio
from contextlib import asynccontextmanager

from larder.adapters.kube.events import SERIES_SECONDS, Note, Recorder, Regarding
from tests.adapters.fake_kube import FakeKube

MODEL = Regarding("larder.dev/v1alpha1", "Model", "tests", "bert", "uid-of-bert")


def note(message="m", reason="ColdRequest", action="Load", regarding=MODEL):
    return Note(regarding, "Normal", action, reason, message)


@asynccontextmanager
async def recording(clock):
    async with FakeKube() as kube:
        client = kube.client()
        recorder = Recorder(client, "operator-0", lambda: clock[0])
        task = asyncio.create_task(recorder.run())
        try:
            yield kube, recorder
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.close()


async def test_an_event_says_what_was_done_to_what_and_why():
    async with recording([1_000.0]) as (kube, recorder):
        recorder.record(note("3 waiting"))
        await kube.until(lambda k: k.all("events"))
        (event,) = kube.all("events")
        assert (event["reason"], event["action"], event["message"]) == ("ColdRequest", "Load", "3 waiting")
        assert event["involvedObject"]["uid"] == "uid-of-bert"


async def test_a_repeat_is_counted_on_the_same_event_with_the_newest_message():
    clock = [1_000.0]
    async with recording(clock) as (kube, recorder):
        recorder.record(note("first"))
        await kube.until(lambda k: k.all("events"))
        clock[0] += 5
        recorder.record(note("second"))
        await kube.until(lambda k: k.all("events")[0]["count"] == 2)
        assert len(kube.all("events")) == 1
        assert kube.all("events")[0]["message"] == "second"


async def test_repeats_within_a_second_are_written_once():
    async with recording([1_000.0]) as (kube, recorder):
        for number in range(50):
            recorder.record(note(str(number)))
        await kube.until(lambda k: k.all("events"))
        writes = [request for request in kube.requests if "events" in request[1]]
        assert len(writes) == 1 and kube.all("events")[0]["count"] in (1, 50)


async def test_another_reason_is_another_event():
    async with recording([1_000.0]) as (kube, recorder):
        recorder.record(note())
        await kube.until(lambda k: len(k.all("events")) == 1)
        recorder.record(note(reason="MinCopies"))
        await kube.until(lambda k: len(k.all("events")) == 2)


async def test_a_repeat_after_a_long_time_is_a_new_event():
    clock = [1_000.0]
    async with recording(clock) as (kube, recorder):
        recorder.record(note())
        await kube.until(lambda k: len(k.all("events")) == 1)
        clock[0] += SERIES_SECONDS + 1
        recorder.record(note())
        await kube.until(lambda k: len(k.all("events")) == 2)


async def test_an_event_that_is_refused_stops_no_other():
    async with recording([1_000.0]) as (kube, recorder):
        kube.refuse("POST", "events", 403)
        recorder.record(note())
        await kube.until(lambda k: k.requests)
        kube.refusals.clear()
        recorder.record(note(reason="Demand"))
        await kube.until(lambda k: [e["reason"] for e in k.all("events")] == ["Demand"])


async def test_a_clock_that_is_set_back_holds_no_event_back():
    clock = [10_000.0]
    async with recording(clock) as (kube, recorder):
        recorder.record(note("first"))
        await kube.until(lambda k: k.all("events"))
        clock[0] -= 5_000
        recorder.record(note("second"))
        await kube.until(lambda k: k.all("events")[0]["message"] == "second")
