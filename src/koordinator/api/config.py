"""config.koordinator.sh/v1alpha1: ClusterColocationProfile, which turns plain pods into co-located ones."""

from typing import Any

import msgspec

from koordinator.api.meta import LabelSelector, Object, Struct


class ClusterColocationProfileSpec(Struct):
    namespace_selector: LabelSelector | None = None
    selector: LabelSelector | None = None
    probability: int | str | None = None
    qos_class: str = msgspec.field(default="", name="qosClass")
    priority_class_name: str = ""
    koordinator_priority: int | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    label_keys_mapping: dict[str, str] | None = None
    annotation_keys_mapping: dict[str, str] | None = None
    label_suffixes: dict[str, str] | None = None
    scheduler_name: str = ""
    patch: Any = None


class ClusterColocationProfile(Object):
    spec: ClusterColocationProfileSpec = msgspec.field(default_factory=ClusterColocationProfileSpec)
