"""Certificates are kept, so that a kubeconfig stays valid, and replaced only where they would not work any more."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from e2e.cluster import pki
from tests.cluster import builders

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def read(folder: Path, file: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pki.certificate(folder, file).read_bytes())


def test_certificates_are_kept_over_runs(tmp_path: Path) -> None:
    wanted = pki.identities(builders.settings(tmp_path))
    assert pki.ensure(tmp_path, wanted, NOW)
    before = {path: path.read_bytes() for path in tmp_path.rglob("tls.*")}
    assert not pki.ensure(tmp_path, wanted, NOW + timedelta(days=300))
    assert {path: path.read_bytes() for path in tmp_path.rglob("tls.*")} == before


def test_everyone_is_signed_by_the_one_authority(tmp_path: Path) -> None:
    wanted = pki.identities(builders.settings(tmp_path))
    pki.ensure(tmp_path, wanted, NOW)
    authority = read(tmp_path, "ca")
    for identity in wanted:
        read(tmp_path, identity.file).verify_directly_issued_by(authority)


def test_a_certificate_about_to_expire_is_replaced_but_not_the_key_of_service_accounts(tmp_path: Path) -> None:
    wanted = pki.identities(builders.settings(tmp_path))
    pki.ensure(tmp_path, wanted, NOW)
    before = read(tmp_path, pki.ADMIN).serial_number
    accounts = pki.key(tmp_path, pki.SERVICE_ACCOUNTS).read_bytes()
    assert pki.ensure(tmp_path, wanted, NOW + pki.LIFETIME - pki.RENEWED_BEFORE + timedelta(days=1))
    assert read(tmp_path, pki.ADMIN).serial_number != before
    assert pki.key(tmp_path, pki.SERVICE_ACCOUNTS).read_bytes() == accounts


def test_a_certificate_for_another_address_is_replaced_alone(tmp_path: Path) -> None:
    first = pki.Identity("apiserver", "kube-apiserver", None, ("10.0.0.1",), ("localhost",))
    other = pki.Identity("admin", "admin", "system:masters")
    pki.ensure(tmp_path, [first, other], NOW)
    kept = read(tmp_path, "admin").serial_number
    moved = pki.Identity("apiserver", "kube-apiserver", None, ("10.0.0.2",), ("localhost",))
    assert pki.ensure(tmp_path, [moved, other], NOW)
    names = read(tmp_path, "apiserver").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.2"]
    assert read(tmp_path, "admin").serial_number == kept


def test_an_interruption_between_key_and_certificate_leaves_neither(tmp_path: Path) -> None:
    pki.ensure(tmp_path, [pki.Identity("admin", "admin")], NOW)
    loaded = read(tmp_path, "admin").public_key()
    assert isinstance(loaded, ec.EllipticCurvePublicKey)
    assert sorted(path.name for path in (tmp_path / "admin").iterdir()) == ["tls.crt", "tls.key", "tls.pub"]
    assert not list(tmp_path.glob(".partial-*"))


def test_each_component_has_its_own_name_and_no_component_is_an_administrator(tmp_path: Path) -> None:
    by_file = {identity.file: identity for identity in pki.identities(builders.settings(tmp_path))}
    masters = {file for file, identity in by_file.items() if identity.organization == "system:masters"}
    assert masters == {pki.ADMIN, pki.APISERVER_CLIENT}
    assert by_file["kubelet-node1"].common_name == "system:node:node1"
    assert by_file["kube-scheduler"].common_name == "system:kube-scheduler"
