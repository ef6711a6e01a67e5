"""The connection flags that every component of Kubernetes has, as one value."""

import msgspec

from koordinator.errors import ConfigInvalid
from koordinator.kube.config import ClientConfig, load

BURST_PER_QPS = 2
"""Requests at once for each request a second, when only the rate was given."""


class ConnectionFlags(msgspec.Struct, frozen=True, kw_only=True):
    """``--kubeconfig --master --kube-api-qps --kube-api-burst``."""

    kubeconfig: str | None = None
    master: str | None = None
    kube_api_qps: float = 0.0
    kube_api_burst: int = 0


HELP = {
    "kubeconfig": "Kubeconfig file. Default: $KUBECONFIG, the pod's service account, ~/.kube/config.",
    "master": "API server URL, in place of the kubeconfig's.",
    "kube_api_qps": "Requests a second to the API server on average. 0 or less: no limit.",
    "kube_api_burst": "Requests at once above the rate. 0: twice the rate.",
}
"""One sentence per flag, for whoever makes options of them."""


def client_config(flags: ConnectionFlags, user_agent: str = "koordinator") -> ClientConfig:
    """The configuration that the flags amount to. Raises: ConfigInvalid, Unavailable."""
    if flags.kube_api_burst < 0:
        raise ConfigInvalid("--kube-api-burst", flags.kube_api_burst, "must not be negative", "nothing was contacted")
    qps = max(flags.kube_api_qps, 0.0)
    burst = flags.kube_api_burst or max(1, round(qps * BURST_PER_QPS))
    config = load(flags.kubeconfig or None, flags.master or None)
    return msgspec.structs.replace(config, qps=qps, burst=burst if qps else 0, user_agent=user_agent)
