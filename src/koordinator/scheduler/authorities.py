"""Who vouches for callers of the HTTPS port: the client CA, and front proxies that name the caller in headers.

Both come from flags; what flags do not give is looked up in the cluster's ConfigMap for extension API servers, and followed.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from koordinator.api.registry import CONFIG_MAPS
from koordinator.clock import Clock
from koordinator.errors import KoordError, Unavailable
from koordinator.kube.reviews import AUTHENTICATED, User
from koordinator.kube.store import Store
from koordinator.scheduler.options import Access, Headers

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from multidict import CIMultiDictProxy

log = logging.getLogger(__name__)

CONFIG_MAP = ("extension-apiserver-authentication", "kube-system")
LOOK_SECONDS, FIRST_LOOK_SECONDS = 60.0, 10.0

Subject = tuple[tuple[tuple[str, str], ...], ...]
"""As Python's ssl shows the subject of a certificate."""


class Authorities:
    """The certificates, in the form in which a TLS context and a request's check want them."""

    def __init__(self, access: Access, context: ssl.SSLContext) -> None:
        self._access, self._context = access, context
        self.headers = access.headers
        self._clients: list[Certificate] = []
        self._proxies: list[Certificate] = []
        self._loaded: set[str] = set()
        if access.client_ca_file:
            self._clients = self._trusted(_read(access.client_ca_file, "--client-ca-file"))
        if access.proxy_ca_file:
            self._proxies = self._trusted(_read(access.proxy_ca_file, "--requestheader-client-ca-file"))

    def _trusted(self, pem: str) -> "list[Certificate]":
        """Let TLS accept what these have signed. Raises: Unavailable when it is no certificate."""
        from cryptography import x509

        try:
            certificates = x509.load_pem_x509_certificates(pem.encode())
            if pem not in self._loaded:
                self._context.load_verify_locations(cadata=pem)
        except (ssl.SSLError, ValueError) as err:
            raise Unavailable("a client CA", f"is no PEM certificate: {err}", "callers are not known by it") from err
        self._loaded.add(pem)
        self._context.verify_mode = ssl.CERT_OPTIONAL
        return certificates

    # -- the ConfigMap -------------------------------------------------------------------------------------------------

    async def look_up(self, store: Store) -> None:
        """Once, before the port opens. Raises: Unavailable, unless that is tolerated."""
        try:
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                await self._look(store)
        except (KoordError, TimeoutError) as err:
            what = f"ConfigMap {CONFIG_MAP[1]}/{CONFIG_MAP[0]}"
            if not self._access.tolerate_lookup_failure:
                raise Unavailable(what, str(err) or "no answer", "--authentication-skip-lookup does without it") from err
            log.warning("%s: %s; callers are known by their tokens only", what, str(err) or "no answer")

    async def follow(self, store: Store, clock: Clock) -> None:
        """Look again every minute, for ever: authorities are renewed."""
        while True:
            await clock.sleep(LOOK_SECONDS)
            try:
                await self._look(store)
            except KoordError as err:
                log.debug("client CAs stay as they are: %s", err)

    async def _look(self, store: Store) -> None:
        data = (await store.get(CONFIG_MAPS, *CONFIG_MAP)).data or {}
        if not self._access.client_ca_file and data.get("client-ca-file"):
            self._clients = self._trusted(data["client-ca-file"])
        if not self._access.proxy_ca_file and data.get("requestheader-client-ca-file"):
            self._proxies = self._trusted(data["requestheader-client-ca-file"])
            self.headers = _headers(data, self.headers)

    # -- callers -------------------------------------------------------------------------------------------------------

    def caller(self, peer: dict[str, Any], certificate: bytes, headers: "CIMultiDictProxy[str]") -> User | None:
        """Who shows this certificate, which TLS has verified; None when that is nobody.

        TLS does not tell which authority it was, and goes on to trust those that the cluster has replaced. So where there
        has been more than one, one of today's must have signed the certificate itself.
        """
        name, groups = _named(peer.get("subject", ()))
        proxy = bool(self._proxies) and (not self.headers.allowed or name in self.headers.allowed)
        if proxy and _issued(certificate, self._proxies):
            named = self._named_by_proxy(headers)
            if named is not None:
                return named
        if (self._proxies or len(self._loaded) > 1) and not _issued(certificate, self._clients):
            return None
        return User(name=name, groups=(*groups, AUTHENTICATED)) if name else None

    def _named_by_proxy(self, headers: "CIMultiDictProxy[str]") -> User | None:
        def given(names: tuple[str, ...]) -> list[str]:
            return [value for name in names for value in headers.getall(name, [])]

        named = next(iter(given(self.headers.name)), "")
        if not named:
            return None
        uid = next(iter(given(self.headers.uid)), "")
        groups = dict.fromkeys((*given(self.headers.group), AUTHENTICATED))
        return User(name=named, uid=uid, groups=tuple(groups), extra=tuple(self._extra(headers)))

    def _extra(self, headers: "CIMultiDictProxy[str]") -> Iterator[tuple[str, tuple[str, ...]]]:
        for header in sorted({name.lower() for name in headers}):
            for prefix in self.headers.extra:
                if header.startswith(prefix.lower()):
                    yield header.removeprefix(prefix.lower()), tuple(headers.getall(header, []))


def _named(subject: Subject) -> tuple[str, tuple[str, ...]]:
    """User name and groups of a certificate: common name and organisations."""
    pairs = [pair for part in subject for pair in part]
    name = next((value for key, value in pairs if key == "commonName"), "")
    return name, tuple(value for key, value in pairs if key == "organizationName")


def _issued(der: bytes, authorities: "list[Certificate]") -> bool:
    from cryptography import x509

    certificate = x509.load_der_x509_certificate(der)
    for authority in authorities:
        with contextlib.suppress(Exception):  # whatever is wrong with the signature, it is not this authority's
            certificate.verify_directly_issued_by(authority)
            return True
    return False


def _headers(data: dict[str, str], otherwise: Headers) -> Headers:
    """The ConfigMap's lists; what is missing or unreadable stays as it was."""
    names = {"allowed-names": "allowed", "username-headers": "name", "group-headers": "group", "uid-headers": "uid"}
    names["extra-headers-prefix"] = "extra"
    found = {}
    for key, field in names.items():
        try:
            found[field] = msgspec.json.decode(data.get(f"requestheader-{key}", ""), type=tuple[str, ...])
        except msgspec.MsgspecError:
            continue
    return msgspec.structs.replace(otherwise, **found)


def _read(path: str, flag: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as err:
        raise Unavailable(f"file {path}", str(err), f"{flag} names it") from err
