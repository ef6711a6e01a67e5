"""The webhook server's own CA and certificate: made when missing, kept in a Secret that all replicas share, renewed in time.

Validity is judged half a year ahead, so that a replica that is never restarted still renews long before anybody notices.
"""

import base64
import datetime as dt
import ipaddress
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from koordinator.errors import Unavailable

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

CA_NAME = "webhook-cert-ca"
LIFE = dt.timedelta(days=3650)
RENEW_SERVER = dt.timedelta(days=183)
RENEW_CA = dt.timedelta(days=365)
_FILES = ("ca-key.pem", "ca-cert.pem", "key.pem", "tls.key", "cert.pem", "tls.crt")
_LIVE = "..data"


class Bundle(msgspec.Struct, frozen=True):
    """PEM texts."""

    ca_key: bytes
    ca_cert: bytes
    key: bytes
    cert: bytes

    def secret_data(self) -> dict[str, str]:
        """As the Secret keeps it; two names each, for readers of either tradition."""
        files = {
            "ca-key.pem": self.ca_key,
            "ca-cert.pem": self.ca_cert,
            "key.pem": self.key,
            "tls.key": self.key,
            "cert.pem": self.cert,
            "tls.crt": self.cert,
        }
        return {name: base64.b64encode(pem).decode() for name, pem in files.items()}


def from_secret(data: dict[str, str] | None) -> Bundle | None:
    """The bundle in a Secret; None when any part is missing or no base64."""
    try:
        parts = [
            base64.b64decode((data or {})[name], validate=True) for name in ("ca-key.pem", "ca-cert.pem", "tls.key", "tls.crt")
        ]
    except (KeyError, ValueError):
        return None
    return Bundle(*parts)


def read_directory(path: Path) -> Bundle | None:
    """The bundle that ``write_directory`` left; None when any of its files is missing."""
    try:
        texts = {name: (path / name).read_bytes() for name in _FILES}
    except OSError:
        return None
    return Bundle(texts["ca-key.pem"], texts["ca-cert.pem"], texts["tls.key"], texts["tls.crt"])


def write_directory(path: Path, bundle: Bundle) -> None:
    """All files change at once for readers: they are links into a folder that is swapped whole. Raises Unavailable."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="..", dir=path))  # 0700
        for name, text in bundle.secret_data().items():
            (folder / name).write_bytes(base64.b64decode(text))
        before = (path / _LIVE).resolve() if (path / _LIVE).is_symlink() else None
        _link(path / _LIVE, Path(folder.name))
        for name in _FILES:
            _link(path / name, Path(_LIVE, name))
    except OSError as err:
        raise Unavailable(f"certificates in {path}", err.strerror or str(err), "check WEBHOOK_CERT_DIR") from err
    if before is not None and before.parent == path.resolve():
        shutil.rmtree(before, ignore_errors=True)


def _link(link: Path, target: Path) -> None:
    fresh = link.with_name(f"{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)


def read_given(path: Path) -> Bundle:
    """The certificate that somebody else keeps in ``path``: ``tls.crt``, ``tls.key``, and ``ca.crt`` where it is told.

    Without ``ca.crt`` the CA is empty: then the webhook configurations' ``caBundle`` is somebody else's matter, too. Raises
    Unavailable.
    """
    try:
        cert, key = (path / "tls.crt").read_bytes(), (path / "tls.key").read_bytes()
    except OSError as err:
        raise Unavailable(f"certificate {err.filename}", err.strerror or str(err), "check WEBHOOK_CERT_DIR") from err
    authority = path / "ca.crt"
    return Bundle(b"", authority.read_bytes() if authority.exists() else b"", key, cert)


def good_bundle(bundle: Bundle | None, host: str, now: float) -> Bundle:
    """``bundle`` itself where it will do for ``host``, else a fresh one. An existing CA that lasts is kept."""
    moment = dt.datetime.fromtimestamp(now, tz=dt.UTC)
    if bundle is not None and _serves(bundle, host, moment + RENEW_SERVER):
        return bundle
    authority = _authority(bundle, moment + RENEW_CA) or _new_authority(moment)
    return _issue(authority, host, moment)


def _serves(bundle: Bundle, host: str, moment: dt.datetime) -> bool:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        authority, cert = x509.load_pem_x509_certificate(bundle.ca_cert), x509.load_pem_x509_certificate(bundle.cert)
        key = load_pem_private_key(bundle.key, None)
        cert.verify_directly_issued_by(authority)
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return (
        key.public_key() == cert.public_key()
        and _general_name(host) in list(names)
        and all(one.not_valid_before_utc <= moment <= one.not_valid_after_utc for one in (authority, cert))
    )


def _general_name(host: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


_Authority = tuple["RSAPrivateKey", "x509.Certificate"]


def _authority(bundle: Bundle | None, moment: dt.datetime) -> "_Authority | None":
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if bundle is None:
        return None
    try:
        key, cert = load_pem_private_key(bundle.ca_key, None), x509.load_pem_x509_certificate(bundle.ca_cert)
    except (ValueError, TypeError):
        return None
    lasting = cert.not_valid_before_utc <= moment <= cert.not_valid_after_utc and key.public_key() == cert.public_key()
    return (key, cert) if isinstance(key, RSAPrivateKey) and lasting else None


def _new_authority(moment: dt.datetime) -> "_Authority":
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    key, name = _new_key(), _name(CA_NAME)
    usage = x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        key_cert_sign=True,
        crl_sign=False,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(moment - dt.timedelta(hours=1))
        .not_valid_after(moment + LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    return key, cert


def _issue(authority: "_Authority", host: str, moment: dt.datetime) -> Bundle:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import ExtendedKeyUsageOID

    ca_key, ca_cert = authority
    key = _new_key()
    names = list(dict.fromkeys((x509.DNSName("localhost"), _general_name(host))))
    cert = (
        x509.CertificateBuilder(ca_cert.subject, _name(host), key.public_key(), x509.random_serial_number())
        .not_valid_before(ca_cert.not_valid_before_utc)
        .not_valid_after(moment + LIFE)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, SHA256())
    )
    return Bundle(_pem(ca_key), ca_cert.public_bytes(Encoding.PEM), _pem(key), cert.public_bytes(Encoding.PEM))


def _name(text: str) -> "x509.Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _new_key() -> "RSAPrivateKey":
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _pem(key: "RSAPrivateKey") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
