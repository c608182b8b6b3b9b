import asyncio

import pytest

from larder.adapters import demand_socket
from larder.errors import UnavailableError


async def test_a_gateway_that_takes_the_connection_and_says_nothing_is_given_up_on(monkeypatch):
    monkeypatch.setattr(demand_socket, "CONNECT_SECONDS", 0.1)
    ended = asyncio.Event()

    async def hang(reader, writer):
        await ended.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        with pytest.raises(UnavailableError, match="does not take the demand stream"):
            async with asyncio.timeout(5), demand_socket.open_socket(f"{host}:{port}", "token"):
                pass
        ended.set()
