"""A certificate for HTTPS: the one given, or one that signs itself, as kube components make it when they get none."""

import datetime as dt
import ipaddress
import socket
import ssl
import tempfile
from pathlib import Path

from koordinator.clock import Clock
from koordinator.errors import Unavailable
from koordinator.scheduler.options import Secure

_DAYS = 365


def context(secure: Secure, clock: Clock) -> ssl.SSLContext:
    """Raises: Unavailable when a given file cannot be used."""
    cert, key = secure.cert_file, secure.key_file
    if not cert:
        return _own(secure, clock)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        made.load_cert_chain(cert, key or None)
    except (OSError, ssl.SSLError) as err:
        raise Unavailable(f"certificate {cert}", str(err), "--tls-cert-file and --tls-private-key-file name it") from err
    return made


def _own(secure: Secure, clock: Clock) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(secure.cert_dir or temporary)
        cert, key = folder / "koord-scheduler.crt", folder / "koord-scheduler.key"
        if not (cert.exists() and key.exists()):
            folder.mkdir(parents=True, exist_ok=True)
            _sign(cert, key, clock)
        made.load_cert_chain(cert, key)
    return made


def _sign(cert: Path, key: Path, clock: Clock) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, socket.gethostname()[:64])])
    now = dt.datetime.fromtimestamp(clock.now(), dt.UTC)
    hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .sign(private, hashes.SHA256())
    )
    key.touch(mode=0o600)
    key.write_bytes(
        private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    cert.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
