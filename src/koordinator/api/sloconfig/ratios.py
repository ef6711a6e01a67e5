"""``cpu-normalization-config`` and ``resource-amplification-config``: ratios by CPU model and by resource."""

from koordinator.api.annotations import Malformed
from koordinator.api.meta import LabelSelector, Struct
from koordinator.api.sloconfig.resolve import Resolved, merge, read_text

CPU_NORMALIZATION_CONFIG = "cpu-normalization-config"
RESOURCE_AMPLIFICATION_CONFIG = "resource-amplification-config"


class ModelRatios(Struct):
    """One CPU model's speed against the reference, by hyper-threading and turbo."""

    base_ratio: float | None = None  #: Without hyper-threading and turbo.
    hyper_thread_enabled_ratio: float | None = None  #: With hyper-threading.
    turbo_enabled_ratio: float | None = None  #: With turbo.
    hyper_thread_turbo_enabled_ratio: float | None = None  #: With both.

    def of(self, *, hyper_threads: bool, turbo: bool) -> float | None:
        """The ratio that fits the machine's settings; None where the model has none for them."""
        if hyper_threads:
            return self.hyper_thread_turbo_enabled_ratio if turbo else self.hyper_thread_enabled_ratio
        return self.turbo_enabled_ratio if turbo else self.base_ratio


class CPUNormalizationStrategy(Struct):
    enable: bool | None = None  #: Whether nodes get a ratio.
    default_ratio: float | None = None  #: For models that are not listed.
    ratio_model: dict[str, ModelRatios] | None = None  #: By CPU model.


class NodeCPUNormalization(CPUNormalizationStrategy):
    name: str = ""  #: The entry's name.
    node_selector: LabelSelector | None = None  #: Nodes that the entry is for; absent is none, empty is all.


class CPUNormalizationConfig(CPUNormalizationStrategy):
    node_configs: list[NodeCPUNormalization] | None = None  #: Exceptions; the first that matches a node counts.


class AmplificationStrategy(Struct):
    enable: bool | None = None  #: Whether nodes get ratios.
    resource_amplification_ratio: dict[str, float] | None = None  #: By resource, above 1.


class NodeAmplification(AmplificationStrategy):
    name: str = ""  #: The entry's name.
    node_selector: LabelSelector | None = None  #: Nodes that the entry is for; absent is none, empty is all.


class AmplificationConfig(AmplificationStrategy):
    node_configs: list[NodeAmplification] | None = None  #: Exceptions; the first that matches a node counts.


DEFAULT_NORMALIZATION = CPUNormalizationStrategy(enable=False, ratio_model={})
DEFAULT_AMPLIFICATION = AmplificationStrategy(enable=False)


def resolve_normalization(text: str | None) -> Resolved[CPUNormalizationStrategy] | Malformed:
    """An absent key is the default. No ranges are checked here."""
    if text is None:
        return Resolved(DEFAULT_NORMALIZATION)
    config = read_text(CPU_NORMALIZATION_CONFIG, text, CPUNormalizationConfig)
    return config if isinstance(config, Malformed) else merge(DEFAULT_NORMALIZATION, config, config.node_configs)


def resolve_amplification(text: str | None) -> Resolved[AmplificationStrategy] | Malformed:
    """An absent key is the default. No ranges are checked here."""
    if text is None:
        return Resolved(DEFAULT_AMPLIFICATION)
    config = read_text(RESOURCE_AMPLIFICATION_CONFIG, text, AmplificationConfig)
    return config if isinstance(config, Malformed) else merge(DEFAULT_AMPLIFICATION, config, config.node_configs)
