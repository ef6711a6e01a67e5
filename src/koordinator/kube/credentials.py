"""Credentials that change while we run: token files that rotate, exec plugins whose tokens expire, client certificates."""

import asyncio
import base64
import contextlib
import json
import logging
import os
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from koordinator.api.meta import parse_time
from koordinator.clock import Clock
from koordinator.errors import ConfigInvalid, Unavailable
from koordinator.kube.config import ClientConfig, ExecPlugin

log = logging.getLogger(__name__)

RECHECK_SECONDS = 10.0
"""How often files are looked at again. A rotated token or certificate stays valid far longer than this."""
EXPIRY_MARGIN = 10.0
"""An expiring credential is renewed this many seconds before its end."""
EXEC_TIMEOUT = 60.0


class _ExecStatus(msgspec.Struct, rename="camel"):
    token: str = ""
    expiration_timestamp: str | None = None
    client_certificate_data: str = ""
    client_key_data: str = ""


class _ExecCredential(msgspec.Struct, rename="camel"):
    status: _ExecStatus = msgspec.field(default_factory=_ExecStatus)


class Credentials:
    """The ``Authorization`` header and TLS context of the moment."""

    def __init__(self, config: ClientConfig, clock: Clock) -> None:
        self._config, self._clock = config, clock
        self._authorization = _static_authorization(config)
        self._ssl: ssl.SSLContext | None = None
        self._files = _tls_files(config)
        self._stamp = _stamp(self._files)
        self._look_at = clock.monotonic() + RECHECK_SECONDS if self._files else float("inf")
        self._renew_at = 0.0 if config.token_file or config.exec_plugin else float("inf")
        self._lock = asyncio.Lock()

    @property
    def dynamic(self) -> bool:
        """Whether asking again after a 401 can help."""
        return bool(self._config.token_file or self._config.exec_plugin or self._config.cert_file)

    async def authorization(self) -> str:
        """The header's value; empty for none."""
        now = self._clock.monotonic()
        if now >= self._look_at:
            self._look_again(now)
        if now >= self._renew_at:
            async with self._lock:
                if self._clock.monotonic() >= self._renew_at:
                    await self._renew()
        return self._authorization

    def expire(self) -> None:
        """The server rejected what we have: get anew at the next request."""
        if self._config.token_file or self._config.exec_plugin:
            self._renew_at = 0.0
        if self._files:
            self._look_at = 0.0

    def ssl_context(self) -> ssl.SSLContext | None:
        """None for plain http. Another one after certificates have changed: new connections are to use it."""
        if self._ssl is None and self._config.server.startswith("https://"):
            self._ssl = make_ssl_context(self._config, self._config.cert_data, self._config.key_data)
        return self._ssl

    def _look_again(self, now: float) -> None:
        """Take certificates anew if their files have changed. What cannot be read yet leaves the last good ones in use."""
        self._look_at = now + RECHECK_SECONDS
        stamp = _stamp(self._files)
        if stamp == self._stamp or self._ssl is None:
            return
        try:
            self._ssl = make_ssl_context(self._config, self._config.cert_data, self._config.key_data)
        except ConfigInvalid as err:
            log.warning("changed certificates are not usable (yet), the last ones stay in use: %s", err)
            return
        self._stamp = stamp
        log.info("certificates have changed and were read anew: %s", ", ".join(self._files))

    async def _renew(self) -> None:
        if self._config.exec_plugin:
            await self._run_plugin(self._config.exec_plugin)
        else:
            self._read_token_file()

    def _read_token_file(self) -> None:
        self._renew_at = self._clock.monotonic() + RECHECK_SECONDS
        try:
            token = Path(self._config.token_file).read_text().strip()
        except OSError as err:
            if not self._authorization:
                raise Unavailable("token file", f"{self._config.token_file}: {err.strerror}") from None
            log.warning("cannot read token file %s: %s; the last token stays in use", self._config.token_file, err)
            return
        self._authorization = f"Bearer {token}"

    async def _run_plugin(self, plugin: ExecPlugin) -> None:
        credential = await run_exec_plugin(plugin, self._config)
        if credential.token:
            self._authorization = f"Bearer {credential.token}"
        if credential.client_certificate_data:
            self._ssl = make_ssl_context(self._config, credential.client_certificate_data, credential.client_key_data)
        expires = parse_time(credential.expiration_timestamp)
        lifetime = float("inf") if expires is None else max(expires - self._clock.now() - EXPIRY_MARGIN, 1.0)
        self._renew_at = self._clock.monotonic() + lifetime


def _tls_files(config: ClientConfig) -> tuple[str, ...]:
    """The files that the TLS context is made of; text in the configuration wins over files."""
    pairs = ((config.ca_file, config.ca_data), (config.cert_file, config.cert_data), (config.key_file, config.key_data))
    files = tuple(file for file, text in pairs if file and not text)
    return files if config.server.startswith("https://") and not config.exec_plugin else ()


def _stamp(files: tuple[str, ...]) -> tuple[tuple[int, int, int], ...]:
    """Another value when a file has another content; all zero for a file that is not there."""
    found = []
    for file in files:
        try:
            stat = Path(file).stat()
        except OSError:
            found.append((0, 0, 0))
        else:
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)


def _static_authorization(config: ClientConfig) -> str:
    if config.token and not config.token_file:
        return f"Bearer {config.token}"
    if config.username:
        return "Basic " + base64.b64encode(f"{config.username}:{config.password}".encode()).decode()
    return ""


async def run_exec_plugin(plugin: ExecPlugin, config: ClientConfig) -> _ExecStatus:
    """Run the plugin and read what it prints. Raises: Unavailable with the plugin's own last words."""
    info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": {"interactive": False}}
    if plugin.provide_cluster_info:
        info["spec"]["cluster"] = {"server": config.server, "insecure-skip-tls-verify": config.insecure}  # type: ignore[index]
    environment = {**os.environ, **dict(plugin.env), "KUBERNETES_EXEC_INFO": json.dumps(info)}
    try:
        process = await asyncio.create_subprocess_exec(
            plugin.command,
            *plugin.args,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as err:
        raise Unavailable(f"credential plugin {plugin.command}", err.strerror or str(err), plugin.install_hint) from None
    try:
        output, errors = await asyncio.wait_for(process.communicate(), EXEC_TIMEOUT)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise Unavailable(f"credential plugin {plugin.command}", f"no answer within {EXEC_TIMEOUT:.0f} s") from None
    if process.returncode:
        words = errors.decode(errors="replace").strip()[-500:]
        raise Unavailable(
            f"credential plugin {plugin.command}", f"exit code {process.returncode}: {words}", plugin.install_hint
        )
    try:
        return msgspec.json.decode(output, type=_ExecCredential).status
    except msgspec.DecodeError as err:
        raise Unavailable(f"credential plugin {plugin.command}", f"printed no ExecCredential: {err}") from None


def make_ssl_context(config: ClientConfig, cert: str, key: str) -> ssl.SSLContext:
    """The TLS settings of a configuration, with a client certificate if there is one. Raises: ConfigInvalid."""
    try:
        context = ssl.create_default_context(
            cafile=config.ca_file if not config.ca_data else None, cadata=config.ca_data or None
        )
    except (OSError, ssl.SSLError) as err:
        raise ConfigInvalid(
            "certificate-authority", config.ca_file or "…", f"must be PEM: {err}", "nothing was contacted"
        ) from None
    if config.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    where = config.cert_file or "client-certificate-data"
    try:
        cert = cert or _read(config.cert_file)
        if cert:
            with _as_file(cert) as cert_path, _as_file(key or _read(config.key_file) or cert) as key_path:
                context.load_cert_chain(cert_path, key_path)
    except (OSError, ssl.SSLError) as err:
        raise ConfigInvalid(where, "…", f"must be a certificate with its key: {err}", "nothing was contacted") from None
    return context


def _read(path: str) -> str:
    return Path(path).read_text() if path else ""


@contextlib.contextmanager
def _as_file(text: str) -> Iterator[str]:
    """The ssl module reads keys from files only: a private one (0600), gone as soon as it is read."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(text)
        file.flush()
        yield file.name
