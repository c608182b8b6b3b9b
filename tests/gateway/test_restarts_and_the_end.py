"""Envoy or the activator restarts alone, the API server comes late, the pod ends: nothing is lost, all heals."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from larder.api.demand import Hint, Seen, Waiting
from tests.gateway.builders import Gateway, residency
from tests.gateway.fake_pod import FakePod

CONTAINER = "containerd://a"


async def test_when_the_activator_restarts_hot_requests_go_on_and_all_heals():
    async with Gateway() as gateway, FakePod("p", {"m", "n"}) as fake:
        await gateway.declare("m", "n")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        await gateway.stop_activator()
        assert (await gateway.infer("m"))[0] == 200
        gateway.start_activator()
        await gateway.until_ready()
        assert (await gateway.infer("m"))[0] == 200
        async with gateway.operator() as operator:
            await operator.until(Seen, lambda message: message.pods == {"uid-of-p": (1, 1)})
            asked = asyncio.create_task(gateway.infer("n"))
            await operator.until(Waiting, lambda message: "n" in message.models)
            await operator.send(Hint("uid-of-p", residency(CONTAINER, 2, "m", "n")))
            assert (await asked)[0] == 200


async def test_when_envoy_restarts_it_gets_its_endpoints_again():
    async with Gateway() as gateway, FakePod("p", {"m"}) as fake:
        await gateway.declare("m")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        await gateway.stop_envoy()
        await gateway.start_envoy()
        async with asyncio.timeout(20):
            while True:
                try:
                    assert (await gateway.infer("m"))[0] == 200
                    break
                except OSError:
                    await asyncio.sleep(0.02)
        await gateway.publish(fake, residency(CONTAINER, 2, "m"))


async def test_a_gateway_whose_envoy_ended_is_ready_again_when_the_next_one_has_its_endpoints():
    async with Gateway() as gateway, FakePod("p", {"m"}) as fake:
        await gateway.declare("m")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        await gateway.until_ready()
        await gateway.stop_envoy()
        async with asyncio.timeout(20):
            while (text := await gateway.ready_text()) == "ok\n":  # noqa: ASYNC110 (nobody is told)
                await asyncio.sleep(0.02)
        assert text == "Envoy does not take requests\n"
        await gateway.start_envoy()
        await gateway.until_ready()


async def test_seen_follows_generations_that_change_no_route():
    async with Gateway() as gateway, FakePod("p", {"m"}) as fake, gateway.operator() as operator:
        await gateway.declare("m")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 2, "m")))
        await operator.until(Seen, lambda message: message.pods == {"uid-of-p": (1, 2)})
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 3, draining=["m"])))
        await operator.until(Seen, lambda message: message.pods == {"uid-of-p": (1, 3)})


async def test_a_gateway_that_is_told_to_end_answers_what_it_holds_first():
    async with Gateway() as gateway, FakePod("p", {"m"}) as fake, gateway.operator() as operator:
        await gateway.declare("m")
        await gateway.publish(fake, residency(CONTAINER, 1))
        asked = asyncio.create_task(gateway.infer("m"))
        await operator.until(Waiting, lambda message: "m" in message.models)
        gateway.stop.set()
        drained = asyncio.create_task(gateway.session.get(f"{gateway.probe}/drained"))
        async with asyncio.timeout(10):
            while (await gateway.session.get(f"{gateway.probe}/readyz")).status != 503:  # noqa: ASYNC110 (a probe is polled)
                await asyncio.sleep(0.02)
        assert (await gateway.session.get(f"{gateway.probe}/healthz")).status == 200
        await operator.send(Hint("uid-of-p", residency(CONTAINER, 2, "m")))
        status, _, headers = await asked
        assert (status, headers["Connection"]) == (200, "close")
        assert (await drained).status == 200
        await asyncio.wait_for(gateway.running, 20)


async def test_before_the_lists_are_read_the_gateway_is_not_ready_and_holds_instead_of_refusing():
    async with Gateway() as gateway:
        await gateway.stop_activator()
        gateway.kube.refuse("GET", "/models", 500)
        gateway.start_activator()
        while gateway.activator.state.pods is None:  # noqa: ASYNC110 (nobody is told)
            await asyncio.sleep(0.02)
        answer = await gateway.session.get(f"{gateway.probe}/readyz")
        assert (answer.status, "Models" in await answer.text()) == (503, True)
        asked = asyncio.create_task(gateway.infer("nobody"))
        async with gateway.operator() as operator:
            await operator.until(Waiting, lambda message: "nobody" in message.models)
        gateway.kube.refusals.clear()
        assert (await asked)[0] == 404


def mount(folder, serial):
    """Put a Secret's new content where it is mounted, as the kubelet does: all at once, by one symbolic link."""
    content = folder / f"..{serial}"
    content.mkdir()
    write_certificate(content, serial)
    (folder / "..data_tmp").symlink_to(content.name)
    (folder / "..data_tmp").rename(folder / "..data")
    for name in ("tls.crt", "tls.key"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")


def write_certificate(folder, serial):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(serial).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    )
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    (folder / "tls.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    encoding = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tls.key").write_bytes(key.private_bytes(*encoding))


@pytest.fixture
def certificate(tmp_path):
    mount(tmp_path, 1)
    return tmp_path


async def test_with_a_tls_secret_both_listeners_speak_tls(certificate):
    async with Gateway(tls_dir=certificate) as gateway, FakePod("p", {"m"}) as fake:
        await gateway.declare("m")
        await gateway.publish(fake, residency(CONTAINER, 1, "m"))
        trusted = ssl.create_default_context(cafile=str(certificate / "tls.crt"))
        url, host = f"https://{gateway.http}/v2/models/m/ready", "localhost"
        async with gateway.session.get(url, ssl=trusted, server_hostname=host) as answer:
            assert answer.status == 200
        trusted.set_alpn_protocols(["h2"])
        address, port = gateway.grpc.split(":")
        _, writer = await asyncio.open_connection(address, port, ssl=trusted, server_hostname=host)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        writer.close()


async def served_serial(address):
    host, port = address.split(":")
    text = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))
    return x509.load_pem_x509_certificate(text.encode()).serial_number


async def test_a_certificate_that_is_replaced_in_its_secret_is_served_without_a_restart(certificate):
    async with Gateway(tls_dir=certificate) as gateway:
        assert [await served_serial(address) for address in (gateway.http, gateway.grpc)] == [1, 1]
        mount(certificate, 2)
        async with asyncio.timeout(20):
            while [await served_serial(a) for a in (gateway.http, gateway.grpc)] != [2, 2]:  # noqa: ASYNC110 (nobody is told)
                await asyncio.sleep(0.02)
        assert gateway.envoy.returncode is None
