"""A certificate for HTTPS: the one given, or one that signs itself, as kube components make it when they get none."""

import datetime as dt
import ipaddress
import socket
import ssl
import tempfile
from pathlib import Path

from koordinator.clock import Clock
from koordinator.errors import ConfigInvalid, Unavailable
from koordinator.scheduler.options import Secure

_DAYS = 365


VERSIONS = {
    "VersionTLS10": ssl.TLSVersion.TLSv1,
    "VersionTLS11": ssl.TLSVersion.TLSv1_1,
    "VersionTLS12": ssl.TLSVersion.TLSv1_2,
    "VersionTLS13": ssl.TLSVersion.TLSv1_3,
}
_EFFECT = "the scheduler does not start"


def context(secure: Secure, clock: Clock) -> ssl.SSLContext:
    """Raises: Unavailable when a given file cannot be used; ConfigInvalid for versions and ciphers that nobody knows."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(made, secure)
    cert, key = secure.cert_file, secure.key_file
    if not cert:
        _load_own(made, secure, clock)
        return made
    try:
        made.load_cert_chain(cert, key or None)
    except (OSError, ssl.SSLError) as err:
        raise Unavailable(f"certificate {cert}", str(err), "--tls-cert-file and --tls-private-key-file name it") from err
    return made


def _restrict(made: ssl.SSLContext, secure: Secure) -> None:
    if secure.min_version:
        if secure.min_version not in VERSIONS:
            raise ConfigInvalid("--tls-min-version", secure.min_version, f"must be one of {', '.join(VERSIONS)}", _EFFECT)
        made.minimum_version = VERSIONS[secure.min_version]
    names = [_openssl(name) for name in secure.cipher_suites if "_WITH_" in name]  # those of TLS 1.3 cannot be chosen
    if not names:
        return
    try:
        made.set_ciphers(":".join(names))
    except ssl.SSLError as err:
        raise ConfigInvalid("--tls-cipher-suites", ",".join(secure.cipher_suites), str(err), _EFFECT) from err


def _openssl(iana: str) -> str:
    """``TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`` → ``ECDHE-RSA-AES128-GCM-SHA256``."""
    name = iana.removeprefix("TLS_").replace("_WITH_", "_").replace("AES_", "AES").replace("CBC_", "")
    return name.removesuffix("_SHA256" if "CHACHA20" in name else "").removeprefix("RSA_").replace("_", "-")


def _load_own(made: ssl.SSLContext, secure: Secure, clock: Clock) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(secure.cert_dir or temporary)
        cert, key = folder / "koord-scheduler.crt", folder / "koord-scheduler.key"
        if not (cert.exists() and key.exists()):
            folder.mkdir(parents=True, exist_ok=True)
            _sign(cert, key, clock)
        made.load_cert_chain(cert, key)


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
