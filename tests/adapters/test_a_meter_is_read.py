"""The meter beside Triton and the one on a GPU, over real HTTP: what is said, to whom, and what its loss is."""

import asyncio
import contextlib
import threading

import pytest
from aiohttp import web

from larder.adapters.meter import open_gpu_meter, open_meter
from larder.api.metering import ContainerUse, Reading, decode, encode
from larder.errors import InvalidInputError, UnavailableError
from larder.meter.processes import Process, container_of, look, model_of, uses
from larder.meter.server import Meter, serve

MIB = 2**20
TRITON = "a" * 64
METER = "b" * 64


@contextlib.contextmanager
def metering(processes, token="right"):
    """A real meter that sees these processes, at `address`."""
    meter = Meter(lambda: list(processes), lambda: 3, lambda: 2 * MIB, METER)
    server = serve(meter, token, 0, "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_a_reading_has_each_container_and_what_models_take_of_it():
    processes = [Process(TRITON, 9 * MIB), Process(TRITON, 20 * MIB, "a"), Process(METER, 14 * MIB)]
    with metering(processes) as address:
        async with open_meter(address, "right") as meter:
            reading = await meter.read()
    assert reading.containers == {TRITON: ContainerUse(29 * MIB, {"a": 20 * MIB})}
    assert (reading.shared_bytes, reading.kills) == (2 * MIB, 3)


async def test_what_moves_is_said_at_once_and_in_order():
    processes = [Process(TRITON, MIB)]
    with metering(processes) as address:
        async with open_meter(address, "right") as meter, asyncio.timeout(5):
            readings = meter.readings()
            first = await anext(readings)
            processes[:] = [Process(TRITON, 50 * MIB)]
            second = await anext(readings)
            await readings.aclose()
    assert second.containers[TRITON].total_bytes == 50 * MIB
    assert second.sequence > first.sequence
    assert second.at_seconds - first.at_seconds < 0.9


async def test_nobody_reads_without_the_token():
    with metering([]) as address:
        async with open_meter(address, "wrong") as meter:
            with pytest.raises(UnavailableError, match="401"):
                await meter.read()
            with pytest.raises(UnavailableError, match="401"):
                await anext(meter.readings())


async def test_a_meter_that_is_not_there_is_unavailable_and_never_nothing():
    async with open_meter("127.0.0.1:1", "right") as meter:
        with pytest.raises(UnavailableError):
            await meter.read()


async def test_what_is_no_reading_is_refused():
    with pytest.raises(InvalidInputError):
        decode('{"seq": 1}')
    reading = Reading(1, 2.0, {"": ContainerUse(5, {"a": 3})}, 4, None)
    assert decode(encode(reading)) == reading


def test_a_process_of_the_python_backend_tells_its_model():
    stub = "/opt/tritonserver/backends/python/triton_python_backend_stub"
    assert model_of([stub, "/models/language/1/model.py", "region"]) == "language"
    assert model_of(["tritonserver", "--model-repository=/models"]) is None


@pytest.mark.parametrize(
    "cgroup",
    [
        f"4:memory:/kubepods/burstable/pod042957ad/{TRITON}\n",
        f"0::/../cri-containerd-{TRITON}.scope\n",
        f"1:name=systemd:/kubepods.slice/crio-{TRITON}.scope\n0::/x\n",
    ],
)
def test_the_cgroup_of_a_process_tells_its_container(cgroup):
    assert container_of(cgroup) == TRITON


def test_where_no_cgroup_tells_a_container_all_are_one():
    assert container_of("0::/\n") == ""
    assert uses([Process("", 5), Process("", 6, "a")], "") == {"": ContainerUse(11, {"a": 6})}


def test_the_files_of_proc_are_read_and_a_process_that_ended_is_left_out(tmp_path):
    for pid, lines in {
        "1": "RssAnon:\t 9 kB\n",
        "70": "RssAnon:\t    40 kB\nRssFile: 7 kB\n",
        "71": "State: Z\n",
    }.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "status").write_text(lines)
        (tmp_path / pid / "cgroup").write_text(f"0::/{TRITON}\n")
        (tmp_path / pid / "cmdline").write_text("tritonserver\0--x\0")
    (tmp_path / "72").mkdir()
    assert look(tmp_path) == [Process(TRITON, 40 * 1024)]


@contextlib.asynccontextmanager
async def triton_metrics(pages):
    """A Triton that answers /metrics with one page after another, the last for ever."""
    app, left = web.Application(), list(pages)

    async def answer(request):
        return web.Response(text=left.pop(0) if len(left) > 1 else left[0])

    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def page(amount):
    return f'# TYPE nv_gpu_memory_used_bytes gauge\nnv_gpu_memory_used_bytes{{gpu_uuid="GPU-1"}} {amount}\nnv_x 1\n'


async def test_on_a_gpu_the_device_tells_through_tritons_metrics():
    pages = [page("1073741824.000000"), page("3.221225472e+09")]
    async with triton_metrics(pages) as address, open_gpu_meter(address, "") as meter, asyncio.timeout(10):
        readings = meter.readings()
        found = [(await anext(readings)).containers[""].total_bytes for _ in range(2)]
    assert found == [2**30, 3 * 2**30]


async def test_a_triton_that_tells_no_gpu_memory_is_unavailable():
    async with triton_metrics(["nv_x 1\n"]) as address, open_gpu_meter(address, "") as meter:
        with pytest.raises(UnavailableError, match="nv_gpu_memory_used_bytes"):
            await anext(meter.readings())
