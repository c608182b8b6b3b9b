import asyncio
from dataclasses import replace

import pytest

from larder.adapters.kube.lease import LeaseStore
from larder.adapters.kube.resources import MODELS
from larder.errors import UnavailableError
from larder.runtime.leadership import Leadership, NotLeadingError
from larder.runtime.status_writer import StatusWriter
from tests.adapters.fake_kube import FakeKube
from tests.runtime import builders
from tests.runtime.written import Written


class Clock:
    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds


class MemoryLease:
    """A Lease in memory, with the version check of the real one."""

    def __init__(self):
        self.record = None
        self.away = False

    async def read(self):
        self._answer()
        return self.record

    async def write(self, record, duration_seconds):
        self._answer()
        present = self.record.version if self.record else None
        if record.version != present:
            return None
        number = str(int(present or "0") + 1)
        self.record = replace(record, version=number, duration_seconds=int(duration_seconds), renewed=number)
        return self.record

    def _answer(self):
        if self.away:
            raise UnavailableError("the API server is away")


def candidates(count=2):
    clock, lease = Clock(), MemoryLease()
    return clock, lease, [Leadership(lease, f"replica-{n}", clock) for n in range(count)]


async def attempt(candidate):
    """One turn of the loop."""
    task = asyncio.create_task(candidate.run())
    for _ in range(10):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_first_leads_and_the_second_waits():
    _, _, (one, two) = candidates()
    await attempt(one)
    await attempt(two)
    assert one.leading and not two.leading
    with pytest.raises(NotLeadingError):
        two.check()


async def test_a_leader_that_does_not_renew_is_followed_after_the_whole_duration_with_a_higher_term():
    clock, _, (one, two) = candidates()
    await attempt(one)
    await attempt(two)
    clock.seconds += 8.9
    await attempt(two)
    assert not two.leading
    clock.seconds += 0.2
    await attempt(two)
    assert two.leading and two.term == one.term + 1


async def test_a_leader_starts_no_command_past_its_renew_deadline_whatever_it_knows():
    clock, lease, (one, _) = candidates()
    await attempt(one)
    lease.away = True
    clock.seconds += 5.9
    one.check()
    clock.seconds += 0.2
    with pytest.raises(NotLeadingError):
        one.check()


async def test_two_never_lead_at_once():
    clock, _, (one, two) = candidates()
    await attempt(one)
    await attempt(two)
    for _ in range(200):
        clock.seconds += 0.1
        await attempt(two)
        assert not (one.leading and two.leading)
    assert two.leading


async def test_renewing_keeps_the_term():
    clock, _, (one, _) = candidates()
    await attempt(one)
    term = one.term
    for _ in range(20):
        clock.seconds += 1
        await attempt(one)
    assert one.leading and one.term == term


async def test_leading_again_after_an_outage_is_a_new_term():
    clock, lease, (one, _) = candidates()
    await attempt(one)
    term = one.term
    lease.away = True
    clock.seconds += 7
    await attempt(one)
    assert not one.leading
    lease.away = False
    await attempt(one)
    assert one.leading and one.term == term + 1


async def test_a_released_lease_is_taken_at_once():
    _, _, (one, two) = candidates()
    await attempt(one)
    await attempt(two)
    await one.release()
    assert not one.leading
    await attempt(two)
    assert two.leading


async def test_a_lease_taken_by_another_is_given_up():
    _, lease, (one, _) = candidates()
    await attempt(one)
    await lease.write(replace(lease.record, holder="somebody", transitions=9), 9)
    await attempt(one)
    assert not one.leading


async def test_a_leader_whose_lease_was_deleted_puts_it_back_and_keeps_its_term():
    _, lease, (one, two) = candidates()
    await attempt(one)
    await one.release()
    await attempt(two)
    await attempt(one)
    lease.record = None
    await attempt(one)
    assert not one.leading, "another may lead until the duration is over"
    await attempt(two)
    assert two.leading and two.term == 2 and lease.record.transitions == 2


async def test_the_term_never_falls_below_what_pods_carry_though_the_lease_is_new():
    clock, _, (one, _) = candidates()
    one.newest_written = lambda: 7
    await attempt(one)
    assert not one.leading, "whoever wrote that may lead still"
    clock.seconds += 9.1
    await attempt(one)
    assert one.leading and one.term == 8


async def test_a_leader_that_was_stopped_past_its_deadline_begins_a_new_term_though_nobody_took_the_lease():
    clock, _, (one, _) = candidates()
    await attempt(one)
    term = one.term
    clock.seconds += 7
    with pytest.raises(NotLeadingError):
        one.check()
    await attempt(one)
    await attempt(one)
    assert one.leading and one.term == term + 1


async def test_status_that_is_due_when_leadership_ends_ends_nothing_else():
    _, _, (one, _) = candidates()
    target = Written()
    writer = StatusWriter(target, one.check, Clock())
    task = asyncio.create_task(writer.run())
    for name in ("a", "b"):
        await attempt(one) if name == "b" else None
        model = builders.model(name)
        writer.want(MODELS, model.meta, {}, {"phase": "Cold"})
        for _ in range(5):
            await asyncio.sleep(0)
    assert not task.done() and target.written == ["b"]
    task.cancel()


async def test_the_lease_on_the_api_server_names_its_holder_and_counts_its_changes():
    async with FakeKube() as kube:
        client = kube.client()
        store = LeaseStore(client, "larder", "larder-operator", lambda: 1_800_000_000.5)
        leader = Leadership(store, "replica-0", Clock())
        task = asyncio.create_task(leader.run())
        await asyncio.wait_for(leader.changed.wait(), 5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        spec = kube.find("leases", "larder-operator", "larder")["spec"]
        assert spec["holderIdentity"] == "replica-0" and spec["leaseDurationSeconds"] == 9
        assert spec["leaseTransitions"] == 1 and spec["renewTime"] == "2027-01-15T08:00:00.500000Z"
        await leader.release()
        assert kube.find("leases", "larder-operator", "larder")["spec"]["holderIdentity"] == ""
        await client.close()
