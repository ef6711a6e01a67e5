"""The HTTPS port: who may in, by token, client certificate and front proxy, as the API server says."""

import asyncio
import contextlib
import datetime as dt
import ssl

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from koordinator.api.registry import CONFIG_MAPS
from koordinator.clock import ManualClock
from koordinator.errors import ConfigInvalid, Unavailable
from koordinator.kube.errors import ServerUnavailable
from koordinator.kube.leader import LeaseTimes
from koordinator.kube.reviews import ANONYMOUS, Lifetimes, Reviews, User
from koordinator.scheduler.authorities import CONFIG_MAP, Authorities
from koordinator.scheduler.certificate import context
from koordinator.scheduler.options import Access, Election, Headers, Secure
from scheduler.processes import running
from waiting import until

EVERYTHING = ("/metrics", "/metrics/resources", "/configz", "/debug/flags/", "/debug/pprof/", "/apis/v1/__services__")


# --- certificates ------------------------------------------------------------------------------------------------------------


class Authority:
    """A certificate authority, its files below ``folder``."""

    def __init__(self, folder, name):
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.crt"
        self.file.write_bytes(self._signed(self.name, self.key, ca=True))
        self.prefix = name

    def _signed(self, subject, key, *, ca=False):
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def client(self, user, *groups):
        """Certificate and key files of somebody."""
        pairs = [(x509.NameOID.COMMON_NAME, user), *((x509.NameOID.ORGANIZATION_NAME, group) for group in groups)]
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(*pair) for pair in pairs])
        file = self.folder / f"{self.prefix}-{user}.pem"
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(self._signed(subject, key) + secret)
        return file


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path, "clients")


class Caller:
    """Somebody at the port of a running scheduler."""

    def __init__(self, app, folder, session):
        self.app, self.folder, self.session = app, folder, session

    async def get(self, path, *, token="", cert=None, method="GET", **headers):
        tls = ssl.create_default_context(cafile=str(self.folder / "koord-scheduler.crt"))
        if cert is not None:
            tls.load_cert_chain(cert)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        url = "https://{}:{}{}".format(*self.app.https_address, path)
        async with self.session.request(method, url, ssl=tls, headers=headers) as answer:
            return answer.status, await answer.text()


@contextlib.asynccontextmanager
async def calling(store, folder, clock=None, **access):
    secure = Secure(address="127.0.0.1", port=0, cert_dir=str(folder), access=Access(**access))
    connector = aiohttp.TCPConnector(force_close=True)
    async with running(store, clock, secure=secure) as app, aiohttp.ClientSession(connector=connector) as session:
        yield Caller(app, folder, session)


# --- tokens ------------------------------------------------------------------------------------------------------------------


async def test_whoever_has_the_clusters_token_sees_everything(apiserver, tmp_path):
    async with calling(apiserver.client, tmp_path) as caller:
        for path in EVERYTHING:
            assert (await caller.get(path, token=apiserver.token))[0] == 200, path
        assert (await caller.get("/nowhere", token=apiserver.token))[0] == 404


async def test_everybody_sees_health_and_nobody_else_anything(apiserver, tmp_path):
    async with calling(apiserver.client, tmp_path) as caller:
        for path in ("/healthz", "/livez", "/readyz"):
            assert await caller.get(path) == (200, "ok")
        for path in EVERYTHING:
            status, text = await caller.get(path)
            assert status == 403
            assert f'User \\"system:anonymous\\" cannot get path \\"{path}\\"' in text
        status, text = await caller.get("/metrics", token="guessed")
        assert (status, '"reason":"Unauthorized"' in text) == (401, True)


async def test_credentials_that_are_none(apiserver, tmp_path):
    async with calling(apiserver.client, tmp_path) as caller:
        for given, status in (
            ("Bearer", 403),
            ("Bearer  ", 403),
            ("Basic eDp5", 403),
            ("Bearer t\u00f6", 401),
            ("bearer x" * 500, 401),
        ):
            assert (await caller.get("/metrics", Authorization=given))[0] == status, given
        assert (await caller.get("/metrics", Authorization=f"bearer {apiserver.token}"))[0] == 200


async def test_whoever_does_not_speak_tls_does_not_disturb_others(apiserver, tmp_path):
    async with calling(apiserver.client, tmp_path) as caller:
        reader, writer = await asyncio.open_connection(*caller.app.https_address)
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert b"HTTP/1.1 200" not in await reader.read()
        writer.close()
        assert (await caller.get("/healthz"))[0] == 200


async def test_paths_can_be_opened_with_all_that_is_below_them(apiserver, tmp_path):
    async with calling(apiserver.client, tmp_path, open_paths=("/metrics", "/debug/*")) as caller:
        expected = {"/metrics": 200, "/metrics/resources": 403, "/debug/flags/": 200, "/healthz": 403}
        assert {path: (await caller.get(path))[0] for path in expected} == expected


class Counting:
    """A store that counts what it is asked to create, and may fail."""

    def __init__(self, store):
        self._store, self.asked, self.down = store, [], False

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def create(self, resource, obj, namespace=""):
        self.asked.append(resource.plural)
        if self.down:
            raise ServerUnavailable(0, "ServerUnavailable", "connection refused")
        return await self._store.create(resource, obj, namespace)


async def test_answers_are_remembered_for_a_moment(apiserver):
    store, clock = Counting(apiserver.client), ManualClock()
    reviews = Reviews(store, store, clock, Lifetimes(token=10, allowed=20, denied=5))
    for _ in range(3):
        user = await reviews.user_of(apiserver.token)
        assert user.name == "koord"
        assert await reviews.user_of("guessed") is None
        assert await reviews.may(user, "get", "/metrics")
        assert not await reviews.may(ANONYMOUS, "get", "/metrics")
    assert store.asked == ["tokenreviews"] * 2 + ["subjectaccessreviews"] * 2
    clock.advance(6)
    assert not await reviews.may(ANONYMOUS, "get", "/metrics")
    assert len(store.asked) == 5
    clock.advance(6)
    await reviews.user_of(apiserver.token)
    assert len(store.asked) == 6


async def test_no_answer_is_an_error_and_not_remembered(apiserver, tmp_path):
    store = Counting(apiserver.client)
    async with calling(store, tmp_path) as caller:
        store.down = True
        status, text = await caller.get("/metrics")
        assert (status, "connection refused" in text) == (500, True)
        assert (await caller.get("/healthz"))[0] == 200
        store.down = False
        assert (await caller.get("/metrics"))[0] == 403


async def test_questions_carry_all_that_is_known_of_a_user():
    class Asked:
        async def create(self, resource, obj, namespace=""):
            self.spec = obj["spec"]
            return resource.type(api_version="v1", kind=resource.kind)

    store = Asked()
    user = User(name="u", uid="1", groups=("a",), extra=(("scopes", ("x", "y")),))
    assert not await Reviews(store, store, ManualClock()).may(user, "put", "/debug/flags/s")
    attributes = {"path": "/debug/flags/s", "verb": "put"}
    assert store.spec == {
        "user": "u",
        "uid": "1",
        "groups": ["a"],
        "extra": {"scopes": ["x", "y"]},
        "nonResourceAttributes": attributes,
    }


async def test_reviews_may_go_to_another_server(apiserver, tmp_path):
    kubeconfig = str(apiserver.data / "kubeconfig")
    store = Counting(apiserver.client)
    async with calling(store, tmp_path, kubeconfig=kubeconfig, authorization_kubeconfig=kubeconfig) as caller:
        assert (await caller.get("/metrics", token=apiserver.token))[0] == 200
        assert (await caller.get("/metrics"))[0] == 403
        assert "tokenreviews" not in store.asked


# --- certificates ------------------------------------------------------------------------------------------------------------


async def test_a_client_certificate_is_a_name_and_groups(apiserver, tmp_path, authority):
    async with calling(apiserver.client, tmp_path, client_ca_file=str(authority.file), skip_lookup=True) as caller:
        master, other = authority.client("root", "system:masters"), authority.client("other", "dev")
        assert (await caller.get("/metrics", cert=master))[0] == 200
        status, text = await caller.get("/metrics", cert=other)
        assert (status, 'User \\"other\\" cannot get path' in text) == (403, True)
        assert (await caller.get("/healthz"))[0] == 200
        foreign = Authority(tmp_path, "foreign").client("root", "system:masters")
        with pytest.raises(aiohttp.ClientError):
            await caller.get("/metrics", cert=foreign)


async def test_a_front_proxy_names_the_caller_in_headers(apiserver, tmp_path, authority):
    proxies = Authority(tmp_path, "proxies")
    access = {"client_ca_file": str(authority.file), "proxy_ca_file": str(proxies.file), "headers": Headers(allowed=("front",))}
    async with calling(apiserver.client, tmp_path, skip_lookup=True, **access) as caller:
        front, impostor = proxies.client("front"), proxies.client("impostor", "system:masters")
        named = {"X-Remote-User": "alice", "X-Remote-Group": "system:masters"}
        assert (await caller.get("/metrics", cert=front, **named))[0] == 200
        assert "alice" in (await caller.get("/metrics", cert=front, **{"X-Remote-User": "alice"}))[1]
        for cert in (front, impostor):
            assert (await caller.get("/metrics", cert=cert))[0] == 401
        assert (await caller.get("/metrics", cert=impostor, **named))[0] == 401
        # a client's own certificate counts, and what he claims in headers does not
        status, text = await caller.get("/metrics", cert=authority.client("bob"), **named)
        assert (status, "bob" in text) == (403, True)
        assert (await caller.get("/metrics", cert=authority.client("root", "system:masters")))[0] == 200


async def test_authorities_are_found_in_the_cluster(apiserver, tmp_path, authority):
    data = {"client-ca-file": authority.file.read_text()}
    metadata = {"name": "extension-apiserver-authentication"}
    await apiserver.client.create(CONFIG_MAPS, {"metadata": metadata, "data": data}, "kube-system")
    async with calling(apiserver.client, tmp_path) as caller:
        assert (await caller.get("/metrics", cert=authority.client("root", "system:masters")))[0] == 200


async def test_an_authority_that_the_cluster_has_replaced_vouches_for_nobody_any_more(apiserver, tmp_path, authority):
    successor = Authority(tmp_path, "successor")
    name, namespace = CONFIG_MAP
    metadata = {"name": name}
    data = {"client-ca-file": authority.file.read_text()}
    await apiserver.client.create(CONFIG_MAPS, {"metadata": metadata, "data": data}, namespace)
    authorities = Authorities(Access(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    await authorities.look_up(apiserver.client)

    def known(certificate):
        der = x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(serialization.Encoding.DER)
        return authorities.caller({"subject": ((("commonName", "root"),),)}, der, {})

    before, after = authority.client("root"), successor.client("root")
    assert known(before).name == "root"
    await apiserver.client.patch(CONFIG_MAPS, name, {"data": {"client-ca-file": successor.file.read_text()}}, namespace)
    await authorities.look_up(apiserver.client)
    assert known(before) is None
    assert known(after).name == "root"


async def test_authorities_that_cannot_be_found_are_tolerated_or_not(apiserver, tmp_path, caplog):
    async with calling(apiserver.client, tmp_path):
        assert "callers are known by their tokens only" in caplog.text
    with pytest.raises(Unavailable, match="ConfigMap kube-system/extension-apiserver-authentication"):
        async with calling(apiserver.client, tmp_path, tolerate_lookup_failure=False):
            pass


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_client_ca_that_cannot_be_read_is_one_clear_error(apiserver, tmp_path, content):
    file = tmp_path / "ca.crt"
    if content is not None:
        file.write_text(content)
    with pytest.raises(Unavailable, match="client CA" if content else "--client-ca-file names it"):
        async with calling(apiserver.client, tmp_path, client_ca_file=str(file)):
            pass


# --- TLS ---------------------------------------------------------------------------------------------------------------------


def test_versions_and_ciphers(tmp_path):
    suites = (
        "TLS_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
        "TLS_RSA_WITH_AES_128_GCM_SHA256",
    )
    secure = Secure(cert_dir=str(tmp_path), min_version="VersionTLS13", cipher_suites=suites)
    made = context(secure, ManualClock())
    assert made.minimum_version == ssl.TLSVersion.TLSv1_3
    names = {cipher["name"] for cipher in made.get_ciphers() if cipher["protocol"] != "TLSv1.3"}
    chosen = {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-AES256-SHA", "AES128-GCM-SHA256"}
    assert names == chosen


@pytest.mark.parametrize(
    ("options", "where"),
    [({"min_version": "TLS9"}, "--tls-min-version"), ({"cipher_suites": ("TLS_X_WITH_Y",)}, "--tls-cipher-suites")],
)
def test_unknown_versions_and_ciphers_are_named(tmp_path, options, where):
    with pytest.raises(ConfigInvalid, match=where):
        context(Secure(cert_dir=str(tmp_path), **options), ManualClock())


# --- health ------------------------------------------------------------------------------------------------------------------


async def test_health_says_what_it_looked_at(apiserver):
    times = LeaseTimes(lease_duration=3, renew_deadline=2, retry_period=0.5)
    election = Election(namespace="kube-system", name="mine", times=times)
    async with (
        running(apiserver.client, leader_elect=True, election=election, http_port=0) as app,
        aiohttp.ClientSession("http://{}:{}".format(*app.http_address)) as session,
    ):

        async def get(path):
            async with session.get(path) as answer:
                return answer.status, await answer.text()

        await until(lambda: app.leading)
        assert await get("/healthz") == (200, "ok")
        assert await get("/healthz?verbose") == (200, "[+]ping ok\n[+]leaderElection ok\nhealthz check passed\n")
        verbose = "[+]ping ok\n[+]leaderElection ok\n[+]informer-sync ok\nreadyz check passed\n"
        assert await get("/readyz?verbose") == (200, verbose)
        assert await get("/healthz/leaderElection") == (200, "ok")
        assert (await get("/healthz/nothing"))[0] == 404
        app.life.elector.stale = lambda: True
        wrong = "[+]ping ok\n[-]leaderElection failed: the Lease has not been renewed\nhealthz check failed\n"
        assert await get("/healthz") == (500, wrong)
        assert await get("/healthz/leaderElection") == (500, "internal server error: the Lease has not been renewed\n")
        assert await get("/livez?exclude=leaderElection") == (200, "ok")
