"""Certificates in a directory: our own, swapped whole, or cert-manager's, taken up when they change."""

import base64
import ssl

import aiohttp
import pytest

from koordinator.clock import SystemClock
from koordinator.errors import Unavailable
from koordinator.manager.options import ManagerOptions, WebhookOptions
from koordinator.manager.webhooks import certificates
from koordinator.manager.webhooks.certificates import good_bundle
from koordinator.manager.webhooks.registration import MUTATING, VALIDATING
from koordinator.manager.webhooks.service import CertWriter, Directory
from waiting import until

FILES = {"ca-key.pem", "ca-cert.pem", "key.pem", "tls.key", "cert.pem", "tls.crt"}
NAMES = (
    (MUTATING, "koordinator-mutating-webhook-configuration"),
    (VALIDATING, "koordinator-validating-webhook-configuration"),
)


def mount(folder, bundle, *, authority=True):
    """As cert-manager's Secret looks where it is mounted."""
    folder.mkdir(exist_ok=True)
    (folder / "tls.crt").write_bytes(bundle.cert)
    (folder / "tls.key").write_bytes(bundle.key)
    if authority:
        (folder / "ca.crt").write_bytes(bundle.ca_cert)


async def test_our_own_are_made_once_and_all_files_change_together(tmp_path):
    folder = tmp_path / "certs"
    source = Directory(str(folder), SystemClock(), "127.0.0.1", made=True)
    first = await source.ensure()
    assert {path.name for path in folder.iterdir() if not path.name.startswith("..")} == FILES
    assert await source.ensure() == first
    (folder / "tls.key").unlink()
    second = await source.ensure()
    assert second.cert != first.cert
    assert second.ca_cert != first.ca_cert
    assert certificates.read_directory(folder) == second
    assert len([path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]) == 1


async def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="check WEBHOOK_CERT_DIR"):
        await Directory(str(tmp_path / "file" / "certs"), SystemClock(), "h", made=True).ensure()
    with pytest.raises(Unavailable, match=r"tls\.crt"):
        await Directory(str(tmp_path), SystemClock(), "h", made=False).ensure()


async def test_what_cert_manager_gives_is_served_and_followed(tmp_path, cluster, run_manager, monkeypatch):
    monkeypatch.setattr(Directory, "period", 0.05)
    bundles = [good_bundle(None, "127.0.0.1", SystemClock().now()) for _ in range(2)]
    mount(tmp_path, bundles[0])
    webhook = WebhookOptions(cert_writer=CertWriter.CERT_MANAGER, cert_dir=str(tmp_path))
    async with run_manager(cluster.client, ManagerOptions(webhook=webhook)):
        await cluster.pod("first")
        url = (await cluster.client.get(*NAMES[0])).webhooks[0]["clientConfig"]["url"].replace("/mutate-pod", "/healthz")
        (tmp_path / "tls.key").write_bytes(b"no key")
        mount(tmp_path, bundles[1])

        async def served():
            context = ssl.create_default_context(cadata=bundles[1].ca_cert.decode())
            try:
                async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as answer:
                    return answer.status == 200
            except aiohttp.ClientConnectorCertificateError:
                return False

        await until(served)

        async def trusted():
            for name in NAMES:
                configuration = await cluster.client.get(*name)
                bundle = base64.b64decode(configuration.webhooks[0]["clientConfig"]["caBundle"])
                if bundle != bundles[1].ca_cert:
                    return False
            return True

        await until(trusted)
        await cluster.pod("second")


async def test_without_a_ca_the_bundle_in_the_configuration_is_somebody_elses(tmp_path, cluster, run_manager, monkeypatch):
    monkeypatch.setattr(Directory, "period", 0.05)
    bundle = good_bundle(None, "127.0.0.1", SystemClock().now())
    mount(tmp_path, bundle, authority=False)
    webhook = WebhookOptions(cert_writer=CertWriter.CERT_MANAGER, cert_dir=str(tmp_path))
    async with run_manager(cluster.client, ManagerOptions(webhook=webhook)):
        found = await cluster.client.get(*NAMES[0])
        injected = [{**one, "clientConfig": {**one["clientConfig"], "caBundle": "aW5qZWN0ZWQ="}} for one in found.webhooks]
        await cluster.client.patch(*NAMES[0], {"webhooks": injected})
        await cluster.client.patch(*NAMES[0], {"metadata": {"annotations": {"touched": "yes"}}})
        for _ in range(3):
            found = await cluster.client.get(*NAMES[0])
        assert {one["clientConfig"]["caBundle"] for one in found.webhooks} == {"aW5qZWN0ZWQ="}
