"""Feature gates of the manager: what can be turned on and off, and how it stands by default."""

from collections.abc import Mapping

from koordinator.api import numbers
from koordinator.errors import ConfigInvalid

DEFAULTS: Mapping[str, bool] = {
    "WebhookFramework": True,
    "PodMutatingWebhook": True,
    "PodValidatingWebhook": True,
    "ElasticMutatingWebhook": True,
    "ElasticValidatingWebhook": True,
    "NodeMutatingWebhook": False,
    "NodeValidatingWebhook": False,
    "ConfigMapValidatingWebhook": False,
    "ReservationMutatingWebhook": False,
    "ColocationProfileSkipMutatingResources": False,
    "ColocationProfileSkipValidatingPriority": False,
    "ValidatePodDeviceResource": False,
    "DisableExtendedResourceSpec": False,
    "DisableDeviceResourceSpec": False,
    "BindingAdmissionWebhook": False,
    "MultiQuotaTree": False,
    "ElasticQuotaIgnorePodOverhead": False,
    "ElasticQuotaGuaranteeUsage": False,
    "ElasticQuotaEnableUpdateResourceKey": False,
    "ElasticQuotaEvaluationTransformPod": False,
    "DisableDefaultQuota": False,
    "SupportParentQuotaSubmitPod": False,
    "EnableQuotaAdmission": False,
    "EnableQuotaAdmissionOnUpdate": False,
    "EnableSyncGPUSharedResource": False,
    "ColocationProfileController": False,
    "EnablePodEnhancedValidator": False,
    "PriorityTransformer": False,
    "PreemptionPolicyTransformer": False,
    "ReplaceResourcesTransformer": False,
}

_EFFECT = "the manager does not start"


def parse_gates(text: str) -> frozenset[str]:
    """The enabled gates under ``--feature-gates=A=true,B=false``. Raises ConfigInvalid."""
    enabled = {name for name, on in DEFAULTS.items() if on}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = item.partition("=")
        if name not in DEFAULTS:
            raise ConfigInvalid("--feature-gates", item, f"unrecognized feature gate: {name}", _EFFECT)
        try:
            on = numbers.boolean(value)
        except ValueError:
            raise ConfigInvalid(
                f"--feature-gates: {name}", value, "must be true or false", "the manager does not start"
            ) from None
        enabled = enabled | {name} if on else enabled - {name}
    return frozenset(enabled)
