"""config.koordinator.sh/v1alpha1: ClusterColocationProfile, which turns plain pods into co-located ones."""

from typing import Annotated, Any

import msgspec

from koordinator.api.meta import Int32, IntOrString, LabelSelector, Object, Struct, schema

QOS_CLASSES = ["LSE", "LSR", "LS", "BE", "SYSTEM"]


class ClusterColocationProfileSpec(Struct):
    """Which pods (of which namespaces), and what they get. ``patch`` comes last."""

    namespace_selector: LabelSelector | None = None
    selector: LabelSelector | None = None
    probability: IntOrString | None = None
    qos_class: Annotated[str, schema(enum=QOS_CLASSES)] = msgspec.field(default="", name="qosClass")
    priority_class_name: str = ""
    koordinator_priority: Int32 | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    label_keys_mapping: dict[str, str] | None = None
    annotation_keys_mapping: dict[str, str] | None = None
    label_suffixes: dict[str, str] | None = None
    scheduler_name: str = ""
    patch: Any = None


class ClusterColocationProfile(Object):
    """Applied to pods as they are created."""

    spec: ClusterColocationProfileSpec = msgspec.field(default_factory=ClusterColocationProfileSpec)
