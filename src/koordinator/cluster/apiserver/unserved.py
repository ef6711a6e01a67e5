"""What a real API server has and this one has not: said in a sentence instead of a bare 404."""

from koordinator.cluster.apiserver.kinds.base import Kind
from koordinator.cluster.apiserver.refusals import Refused, no_such_path

_WHY = {
    ("pods", "exec"): "exec is not served here: pods of this cluster are ordinary processes or only pretended",
    ("pods", "attach"): "attach is not served here; kubectl logs -f follows what a pod writes",
    ("pods", "portforward"): "port-forward is not served here: pods share this machine's network, use their ports directly",
    ("pods", "proxy"): "the pod proxy is not served here: pods share this machine's network, use their ports directly",
    ("pods", "ephemeralcontainers"): "ephemeral containers are not served here",
    ("pods", "resize"): "resizing pods in place is not served here",
    ("services", "proxy"): "the service proxy is not served here: there are no service addresses",
    ("nodes", "proxy"): "the node proxy is not served here; kubectl logs works without it",
    ("serviceaccounts", "token"): "service account tokens are not issued here: the cluster has one token, in its kubeconfig",
}


def not_served(kind: Kind, subresource: str) -> Refused:
    """501 for what is known and left out, 404 for what does not exist anywhere."""
    first = subresource.partition("/")[0]
    why = "" if kind.group else _WHY.get((kind.plural, first), "")
    return Refused(501, "NotImplemented", why) if why else no_such_path()
