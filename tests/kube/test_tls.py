"""Real certificates on a real port: whom the client believes, and whom it shows itself to be."""

import datetime as dt
import ipaddress
import ssl

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from koordinator.clock import ManualClock
from koordinator.kube.client import Client
from koordinator.kube.config import ClientConfig
from koordinator.kube.errors import ServerUnavailable


class Authority:
    def __init__(self, name="ca"):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.cert = self._sign(name, self.key.public_key(), ca=True)
        self.pem = pem(self.cert)

    def issue(self, name):
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        return pem(self._sign(name, key.public_key())), private

    def _sign(self, name, public_key, ca=False):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if ca else self.cert.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
        )
        return builder.sign(self.key, hashes.SHA256())


def pem(cert):
    return cert.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
async def server(authority, tmp_path):
    """Answers with the common name of the client's certificate."""
    cert, key = authority.issue("kubernetes")
    (tmp_path / "chain.pem").write_text(cert + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain.pem")
    context.load_verify_locations(cadata=authority.pem)
    context.verify_mode = ssl.CERT_OPTIONAL

    async def who(request):
        peer = request.transport.get_extra_info("peercert") or {}
        return web.json_response({"name": dict(pair[0] for pair in peer.get("subject", ())).get("commonName")})

    app = web.Application()
    app.router.add_get("/who", who)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def who(**config):
    async with Client(ClientConfig(**config)) as client:
        return (await client.request("GET", "/who"))["name"]


async def test_the_authority_is_believed_and_our_certificate_is_shown(server, authority, tmp_path):
    cert, key = authority.issue("me")
    assert await who(server=server, ca_data=authority.pem) is None
    assert await who(server=server, ca_data=authority.pem, cert_data=cert, key_data=key) == "me"
    (tmp_path / "me.crt").write_text(cert)
    (tmp_path / "me.key").write_text(key)
    (tmp_path / "ca.crt").write_text(authority.pem)
    files = {"ca_file": "ca.crt", "cert_file": "me.crt", "key_file": "me.key"}
    assert await who(server=server, **{name: str(tmp_path / file) for name, file in files.items()}) == "me"


async def test_a_stranger_is_not_believed_unless_told_so(server):
    with pytest.raises(ServerUnavailable, match=r"(?i)certificate"):
        await who(server=server, ca_data=Authority("other").pem)
    assert await who(server=server, insecure=True) is None


async def test_the_name_to_expect_can_be_given(server, authority):
    assert await who(server=server, ca_data=authority.pem, tls_server_name="kubernetes") is None
    with pytest.raises(ServerUnavailable, match=r"(?i)hostname mismatch"):
        await who(server=server, ca_data=authority.pem, tls_server_name="elsewhere")


async def test_certificates_that_rotate_are_followed(server, authority, tmp_path):
    files = {name: tmp_path / name for name in ("me.crt", "me.key")}

    def write(name):
        for file, text in zip(files.values(), authority.issue(name), strict=True):
            file.write_text(text)

    write("first")
    config = ClientConfig(server=server, ca_data=authority.pem, cert_file=str(files["me.crt"]), key_file=str(files["me.key"]))
    clock = ManualClock()

    async def seen_as(client):
        return (await client.request("GET", "/who"))["name"]

    async with Client(config, clock) as client:
        assert await seen_as(client) == "first"
        write("second")
        assert await seen_as(client) == "first"  # not looked at again yet
        clock.advance(11)
        assert await seen_as(client) == "second"
        files["me.crt"].write_text("half a fi")
        clock.advance(11)
        assert await seen_as(client) == "second"  # what cannot be read yet changes nothing
        write("third")
        clock.advance(11)
        assert await seen_as(client) == "third"
        files["me.key"].unlink()
        clock.advance(11)
        assert await seen_as(client) == "third"
