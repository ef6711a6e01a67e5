"""Which API server, and who we are to it: kubeconfig files, in-cluster service accounts, plain URLs.

``load`` looks in this order: explicit file, ``$KUBECONFIG`` (may list several files), the pod's service account,
``~/.kube/config``. An explicit ``master`` URL replaces the server whatever the rest came from. Our own reader: the field's
libraries cost 20 MiB and more for these two hundred lines.
"""

import base64
import binascii
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from koordinator.errors import ConfigInvalid, Unavailable

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
EXEC_API_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


class ExecPlugin(msgspec.Struct, frozen=True, kw_only=True):
    """A program that prints credentials (an ``ExecCredential``) on its standard output."""

    command: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    api_version: str = EXEC_API_VERSIONS[0]
    provide_cluster_info: bool = False
    install_hint: str = ""


class ClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All that a client needs to know. PEM texts and paths are both accepted; text wins."""

    server: str
    namespace: str = "default"
    # who the server is
    ca_file: str = ""
    ca_data: str = ""
    insecure: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""
    # who we are
    token: str = ""
    token_file: str = ""
    username: str = ""
    password: str = ""
    cert_file: str = ""
    cert_data: str = ""
    key_file: str = ""
    key_data: str = ""
    exec_plugin: ExecPlugin | None = None
    # how we behave
    user_agent: str = "koordinator"
    qps: float = 0.0  # requests a second on average; 0 is no limit (--kube-api-qps)
    burst: int = 0  # requests at once above it (--kube-api-burst)
    timeout: float = 30.0  # seconds for one attempt of a request that is not a watch
    retries: int = 5  # further attempts after the first
    max_in_flight: int = 64  # requests on the wire at a time; the rest wait here, not in the server


def load(kubeconfig: str | None = None, master: str | None = None, context: str | None = None) -> ClientConfig:
    """The configuration to use. Raises: ConfigInvalid, Unavailable (nothing found)."""
    config = _find(kubeconfig, context, bare=bool(master))
    return msgspec.structs.replace(config, server=_server_url(master, "--master")) if master else config


def _find(kubeconfig: str | None, context: str | None, *, bare: bool) -> ClientConfig:
    if kubeconfig:
        return from_kubeconfig([Path(kubeconfig).expanduser()], context)
    if listed := [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]:
        return from_kubeconfig(listed, context)
    if os.environ.get("KUBERNETES_SERVICE_HOST") and (SERVICE_ACCOUNT / "token").exists():
        return in_cluster(os.environ)
    home = Path("~/.kube/config").expanduser()
    if home.exists():
        return from_kubeconfig([home], context)
    if bare:
        return ClientConfig(server="")
    raise Unavailable(
        "API server",
        "no kubeconfig given, $KUBECONFIG is unset, this is no pod, and ~/.kube/config does not exist",
        "start one with `koord up`, or name one with --kubeconfig",
    )


def in_cluster(environ: Mapping[str, str], account: Path = SERVICE_ACCOUNT) -> ClientConfig:
    """The configuration of a pod: its service account's token (rotated by the kubelet, so read from the file) and CA."""
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    namespace = account / "namespace"
    return ClientConfig(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        ca_file=str(account / "ca.crt"),
        token_file=str(account / "token"),
    )


def from_kubeconfig(paths: list[Path], context: str | None = None) -> ClientConfig:
    """Read and join kubeconfig files: for each name the first file that defines it wins, missing files are skipped."""
    present = [path for path in paths if path.exists()]
    if not present:
        raise Unavailable("kubeconfig", f"{', '.join(map(str, paths))} does not exist", "check --kubeconfig or $KUBECONFIG")
    documents = [(path, _read(path)) for path in present]
    where = str(present[0])
    chosen = context or next((doc["current-context"] for _, doc in documents if doc.get("current-context")), "")
    if not chosen:
        raise ConfigInvalid(f"{where}: current-context", "", "must name a context", "nothing was contacted")
    _, ctx = _named(documents, "contexts", "context", chosen)
    home, cluster = _named(documents, "clusters", "cluster", str(ctx.get("cluster") or ""))
    user_home, user = _named(documents, "users", "user", str(ctx["user"])) if ctx.get("user") else (home, {})
    try:
        return ClientConfig(
            namespace=str(ctx.get("namespace") or "default"), **_cluster(cluster, home), **_user(user, user_home)
        )
    except (TypeError, AttributeError) as err:
        raise ConfigInvalid(where, chosen, f"is not a readable context: {err}", "nothing was contacted") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 — safe loaders
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as err:
        raise ConfigInvalid(str(path), "kubeconfig", f"must be readable YAML: {err}", "nothing was contacted") from None
    if not isinstance(document, dict):
        raise ConfigInvalid(str(path), document, "must be a kubeconfig", "nothing was contacted")
    return document


def _named(documents: list[tuple[Path, dict[str, Any]]], plural: str, field: str, name: str) -> tuple[Path, dict[str, Any]]:
    """The first entry ``name`` of a kubeconfig list, and the directory that its relative paths start from."""
    for path, document in documents:
        for entry in document.get(plural) or ():
            if isinstance(entry, dict) and entry.get("name") == name:
                body = entry.get(field) or {}
                if not isinstance(body, dict):
                    raise ConfigInvalid(f"{path}: {plural}[{name}]", body, "must be a mapping", "nothing was contacted")
                return path.parent, body
    raise ConfigInvalid(f"{documents[0][0]}: {plural}", name, "is not defined there", "nothing was contacted")


def _cluster(cluster: dict[str, Any], home: Path) -> dict[str, Any]:
    return {
        "server": _server_url(cluster.get("server"), "clusters[].cluster.server"),
        "ca_file": _path(cluster.get("certificate-authority"), home),
        "ca_data": _pem(cluster, "certificate-authority-data"),
        "insecure": bool(cluster.get("insecure-skip-tls-verify", False)),
        "tls_server_name": str(cluster.get("tls-server-name") or ""),
        "proxy_url": str(cluster.get("proxy-url") or ""),
    }


def _user(user: dict[str, Any], home: Path) -> dict[str, Any]:
    return {
        "token": str(user.get("token") or ""),
        "token_file": _path(user.get("tokenFile"), home),
        "username": str(user.get("username") or ""),
        "password": str(user.get("password") or ""),
        "cert_file": _path(user.get("client-certificate"), home),
        "cert_data": _pem(user, "client-certificate-data"),
        "key_file": _path(user.get("client-key"), home),
        "key_data": _pem(user, "client-key-data"),
        "exec_plugin": _exec(user["exec"], home) if user.get("exec") else None,
    }


def _exec(plugin: dict[str, Any], home: Path) -> ExecPlugin:
    version = plugin.get("apiVersion", EXEC_API_VERSIONS[0])
    if version not in EXEC_API_VERSIONS:
        raise ConfigInvalid(
            "users[].user.exec.apiVersion", version, f"must be one of {EXEC_API_VERSIONS}", "nothing was contacted"
        )
    command = str(plugin.get("command") or "")
    if not command:
        raise ConfigInvalid("users[].user.exec.command", command, "must name a program", "nothing was contacted")
    return ExecPlugin(
        command=str(home / command) if "/" in command else command,
        args=tuple(map(str, plugin.get("args") or ())),
        env=tuple((str(pair["name"]), str(pair["value"])) for pair in plugin.get("env") or ()),
        api_version=version,
        provide_cluster_info=bool(plugin.get("provideClusterInfo", False)),
        install_hint=str(plugin.get("installHint") or ""),
    )


def _server_url(server: Any, where: str) -> str:
    text = str(server or "")
    if text and "://" not in text:
        text = f"http://{text}"
    if not text.startswith(("http://", "https://")) or text.endswith("://"):
        raise ConfigInvalid(where, server, "must be an http or https URL", "nothing was contacted")
    return text.rstrip("/")


def _path(value: Any, home: Path) -> str:
    return str(home / str(value)) if value else ""


def _pem(section: dict[str, Any], key: str) -> str:
    value = section.get(key)
    if not value:
        return ""
    try:
        return base64.b64decode("".join(str(value).split()), validate=True).decode()
    except (binascii.Error, ValueError, TypeError):
        raise ConfigInvalid(key, "…", "must be base64 of a PEM text", "nothing was contacted") from None


def write_kubeconfig(path: Path, config: ClientConfig, name: str = "koord") -> None:
    """Write a kubeconfig that only its owner can read. Replaces atomically: a reader sees the old or the new file."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": dict(_cluster_section(config))}],
        "users": [{"name": name, "user": dict(_user_section(config))}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": config.namespace}}],
    }
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        yaml.safe_dump(document, file, sort_keys=False)
    temporary.replace(path)


def _cluster_section(config: ClientConfig) -> Iterator[tuple[str, Any]]:
    yield "server", config.server
    if config.ca_data:
        yield "certificate-authority-data", _base64(config.ca_data)
    elif config.ca_file:
        yield "certificate-authority", config.ca_file
    if config.insecure:
        yield "insecure-skip-tls-verify", True
    if config.tls_server_name:
        yield "tls-server-name", config.tls_server_name


def _user_section(config: ClientConfig) -> Iterator[tuple[str, Any]]:
    plain = {
        "token": config.token,
        "tokenFile": config.token_file,
        "username": config.username,
        "password": config.password,
        "client-certificate": config.cert_file,
        "client-certificate-data": _base64(config.cert_data),
        "client-key": config.key_file,
        "client-key-data": _base64(config.key_data),
    }
    yield from ((key, value) for key, value in plain.items() if value)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
