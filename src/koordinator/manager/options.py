"""What the command line, the environment or the embedded cluster decides about the manager."""

import msgspec

from koordinator.manager.controllers.colocationprofile import ProfileSettings
from koordinator.manager.webhooks.bindings import BindingRules
from koordinator.manager.webhooks.quotas.admission import Retries
from koordinator.manager.webhooks.service import CertWriter, Names

CONTROLLERS = ("colocationprofile", "nodemetric", "noderesource", "nodeslo", "quotaprofile")


class WebhookOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``host`` is how the API server reaches us; empty means through the Service ``service``."""

    host: str = "127.0.0.1"
    address: str = "127.0.0.1"
    port: int = 0
    service: str = "koordinator-webhook-service"
    names: Names = Names()
    cert_writer: CertWriter = CertWriter.SECRET
    cert_dir: str = ""


class Address(msgspec.Struct, frozen=True):
    """Where something is served; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 0


class ManagerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults suit a cluster on this machine."""

    kubeconfig: str | None = None
    master: str | None = None
    qps: float = 0.0
    burst: int = 0
    namespace: str = ""
    """Restricts caches of namespaced objects to one namespace; empty for all."""
    webhook: WebhookOptions = WebhookOptions()
    leader_elect: bool = False
    leader_election_namespace: str = "koordinator-system"
    config_namespace: str = "koordinator-system"
    config_name: str = "slo-controller-config"
    node_strategy_name_need_check: bool = False
    rules_namespace: str = "koordinator-system"
    rules_name: str = "pod-enhanced-validator-config"
    feature_gates: str = ""
    controllers: tuple[str, ...] = ("*",)
    noderesource_plugins: tuple[str, ...] = ("*",)
    profiles: ProfileSettings = ProfileSettings()
    bindings: BindingRules = BindingRules()
    quota_retries: Retries = Retries()
    metrics: Address | None = None
    probes: Address | None = None
    pprof: Address | None = None
    """Where metrics, probes and profiles are served; None for nowhere."""
