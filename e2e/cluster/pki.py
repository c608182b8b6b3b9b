"""The cluster's certificates, made once and kept, so that a kubeconfig stays valid over `down` and `up`."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from e2e.cluster.settings import Settings
from e2e.cluster.store import produced

LIFETIME = timedelta(days=3650)
RENEWED_BEFORE = timedelta(days=30)
ADMIN, APISERVER, APISERVER_CLIENT, SERVICE_ACCOUNTS = "admin", "apiserver", "apiserver-kubelet-client", "sa"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a certificate names, and under which addresses it is reached."""

    file: str
    common_name: str
    organization: str | None = None
    addresses: tuple[str, ...] = ()
    host_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that can sign."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def identities(settings: Settings) -> tuple[Identity, ...]:
    """Everyone who has a certificate: each component under its own name, as in a real cluster."""
    head = settings.nodes[0]
    api_addresses = (str(settings.service_network[1]), str(head.address))
    api_names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    kubelets = tuple(
        Identity(f"kubelet-{node.name}", f"system:node:{node.name}", "system:nodes", (str(node.address),), (node.name,))
        for node in settings.nodes
    )
    return (
        Identity(APISERVER, "kube-apiserver", None, api_addresses, api_names),
        Identity(APISERVER_CLIENT, "kube-apiserver-kubelet-client", "system:masters"),
        Identity(ADMIN, "admin", "system:masters"),
        Identity("kube-controller-manager", "system:kube-controller-manager"),
        Identity("kube-scheduler", "system:kube-scheduler"),
        Identity("kube-proxy", "system:kube-proxy"),
        *kubelets,
    )


def certificate(folder: Path, file: str) -> Path:
    """Where the certificate of an identity is."""
    return folder / file / "tls.crt"


def key(folder: Path, file: str) -> Path:
    """Where the key of an identity is."""
    return folder / file / "tls.key"


def ensure(folder: Path, wanted: Sequence[Identity], now: datetime | None = None) -> bool:
    """Make what is missing, about to expire or for other addresses. True if anything was made."""
    moment = now or datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = False
    if not _stands(folder, Identity("ca", "larder-cluster"), moment):
        _save(folder / "ca", *_root(moment))
        made = True
    authority = _load(folder / "ca")
    for identity in wanted:
        if not _stands(folder, identity, moment, authority):
            _save(folder / identity.file, *_signed(identity, authority, moment))
            made = True
    if not key(folder, SERVICE_ACCOUNTS).exists():
        _save(folder / SERVICE_ACCOUNTS, None, ec.generate_private_key(ec.SECP256R1()))
        made = True
    return made


def _stands(folder: Path, identity: Identity, now: datetime, authority: Authority | None = None) -> bool:
    path = certificate(folder, identity.file)
    if not path.exists():
        return False
    present = x509.load_pem_x509_certificate(path.read_bytes())
    if present.not_valid_after_utc - RENEWED_BEFORE < now:
        return False
    if authority is None:
        return True
    signed_by_it = present.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value == _issuer(authority)
    return signed_by_it and present.subject == _subject(identity) and _alternative_names(present) == _names(identity)


def _root(now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "larder-cluster")])
    builder = _builder(name, name, private.public_key(), now)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
    return builder.sign(private, hashes.SHA256()), private


def _signed(
    identity: Identity, authority: Authority, now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    private = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_subject(identity), authority.certificate.subject, private.public_key(), now)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
    builder = builder.add_extension(usages, critical=False)
    builder = builder.add_extension(_issuer(authority), critical=False)
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in identity.host_names]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in identity.addresses]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(authority.key, hashes.SHA256()), private


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
    builder = builder.serial_number(x509.random_serial_number())
    # An hour back: the clock of a machine just started may still be set.
    return builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + LIFETIME)


def _subject(identity: Identity) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, identity.common_name)]
    if identity.organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, identity.organization))
    return x509.Name(attributes)


def _issuer(authority: Authority) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())


def _names(identity: Identity) -> frozenset[str]:
    return frozenset(identity.addresses) | frozenset(identity.host_names)


def _alternative_names(present: x509.Certificate) -> frozenset[str]:
    try:
        names = present.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    addresses = (str(address) for address in names.get_values_for_type(x509.IPAddress))
    return frozenset(addresses) | frozenset(names.get_values_for_type(x509.DNSName))


def _load(folder: Path) -> Authority:
    private = serialization.load_pem_private_key((folder / "tls.key").read_bytes(), password=None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return Authority(x509.load_pem_x509_certificate((folder / "tls.crt").read_bytes()), private)


def _save(target: Path, made: x509.Certificate | None, private: ec.EllipticCurvePrivateKey) -> None:
    """Key and certificate appear together, as one folder."""
    public = private.public_key()
    with produced(target) as partial:
        partial.mkdir(mode=0o700)
        secret = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (partial / "tls.key").write_bytes(secret)
        (partial / "tls.pub").write_bytes(
            public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        if made:
            (partial / "tls.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        if target.exists():
            _remove_folder(target)


def _remove_folder(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
