"""Ratios that a node carries: how fast its CPUs are against the reference, and how much more it offers than it has."""

from collections.abc import Mapping

from koordinator.api import keys, nodes
from koordinator.api.annotations import Malformed, Texts
from koordinator.api.nodes import CPU_NORMALIZATION_ENABLED, normalization_ratio
from koordinator.api.numa import CPU_BASIC_INFO
from koordinator.api.resources import CPU
from koordinator.api.sloconfig.ratios import AmplificationStrategy, CPUNormalizationStrategy

LOWEST, HIGHEST = 1.0, 5.0


def normalization_text(strategy: CPUNormalizationStrategy, labels: Texts | None, topology: Texts | None) -> str:
    """The node's CPU normalization annotation.

    ``topology`` are the annotations of its NodeResourceTopology, None when there is none. Raises ValueError when the ratio
    cannot be told; then the annotation stays as it is.
    """
    label = CPU_NORMALIZATION_ENABLED.read(labels)
    if isinstance(label, Malformed):
        raise ValueError(f"metadata.labels: {label}")  # noqa: TRY004 — data, not a bug
    if not (strategy.enable if label is None else label):
        return nodes.write_normalization_ratio(LOWEST)
    ratio = _model_ratio(strategy, topology)
    if not LOWEST <= ratio <= HIGHEST:
        raise ValueError(f"the ratio of the node's CPU model is {ratio:g}, must be {LOWEST:g} to {HIGHEST:g}")
    return nodes.write_normalization_ratio(ratio)


def _model_ratio(strategy: CPUNormalizationStrategy, topology: Texts | None) -> float:
    info = CPU_BASIC_INFO.read(topology)
    if info is None or isinstance(info, Malformed):
        raise ValueError(f"NodeResourceTopology: {info or 'it says nothing of the CPU model'}")
    model = (strategy.ratio_model or {}).get(info.cpu_model)
    ratio = model.of(hyper_threads=info.hyper_thread_enabled, turbo=info.turbo_enabled) if model else None
    ratio = strategy.default_ratio if ratio is None else ratio
    if ratio is None:
        raise ValueError(f"no ratio for CPU model {info.key}, and no default")
    return ratio


def amplification_text(strategy: AmplificationStrategy, annotations: Texts | None) -> str | None:
    """The node's amplification annotation from the strategy and the normalization it carries; None for no annotation.

    Raises ValueError when a ratio makes no sense; then the annotation is removed.
    """
    ratios = dict(strategy.resource_amplification_ratio or {}) if strategy.enable else {}
    normalization = normalization_ratio(annotations)
    if isinstance(normalization, Malformed):
        raise ValueError(f"metadata.annotations: {normalization}")  # noqa: TRY004 — data, not a bug
    cpu = ratios[CPU] if ratios.get(CPU, 0) > 0 else 1.0
    cpu *= normalization if normalization > 0 else 1.0
    if cpu > 1:
        ratios[CPU] = cpu
    for name, ratio in ratios.items():
        if not ratio >= 1:
            raise ValueError(f"the amplification ratio of {name} is {ratio:g}, must be 1 or more")
    return nodes.write_amplification_ratios(ratios) if ratios else None


def changed_ratios(annotations: Texts, wanted: Mapping[str, str | None]) -> dict[str, str | None]:
    """Of the ratio annotations that are wanted (None: not there), those that have to be written."""
    return {key: text for key, text in wanted.items() if _changed(key, annotations.get(key), text)}


def _changed(key: str, old: str | None, new: str | None) -> bool:
    if key != keys.CPU_NORMALIZATION_RATIO or old is None or new is None:
        return old != new
    before, after = normalization_ratio({key: old}), normalization_ratio({key: new})
    if isinstance(before, Malformed) or isinstance(after, Malformed):
        return isinstance(before, Malformed)
    return nodes.ratios_differ(before, after)
