"""The endpoint's certificate: the cluster's when it has one, else one that is signed by the cluster's CA or by itself."""

import datetime as dt
import ipaddress
import os
import ssl
from pathlib import Path
from typing import Any

from koordinator.clock import Clock
from koordinator.errors import Unavailable

VALID_DAYS = 365


def server_context(pki: Path, name: str, address: str, clock: Clock) -> ssl.SSLContext:
    """TLS for the endpoint from ``kubelet.crt`` and ``kubelet.key``; made first when missing. Raises Unavailable."""
    cert, key = pki / "kubelet.crt", pki / "kubelet.key"
    if not (cert.exists() and key.exists()):
        _make(pki, name, address, clock.now())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as err:
        raise Unavailable(
            f"certificate {cert}", str(err), f"remove it and {key.name}; they are made again at the next start"
        ) from err
    return context


def _make(pki: Path, name: str, address: str, now: float) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{name}"[:64]),
        ]
    )
    issuer, signer = _authority(pki) or (subject, key)
    began = dt.datetime.fromtimestamp(now, tz=dt.UTC) - dt.timedelta(minutes=5)
    names = [x509.DNSName(name), x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(address))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + dt.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain, no_password = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(pki / "kubelet.key", key.private_bytes(pem, plain, no_password))
    _write(pki / "kubelet.crt", certificate.public_bytes(pem))


def _authority(pki: Path) -> tuple[Any, Any] | None:
    """The cluster CA's name and key; None when it is not here."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        certificate = x509.load_pem_x509_certificate((pki / "ca.crt").read_bytes())
        return certificate.subject, load_pem_private_key((pki / "ca.key").read_bytes(), None)
    except (OSError, ValueError):
        return None


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
