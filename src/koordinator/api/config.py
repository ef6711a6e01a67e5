"""config.koordinator.sh/v1alpha1: ClusterColocationProfile, which turns plain pods into co-located ones."""

from typing import Annotated, Any

import msgspec

from koordinator.api.meta import Int32, IntOrString, LabelSelector, Object, Struct, schema

QOS_CLASSES = ["LSE", "LSR", "LS", "BE", "SYSTEM"]


class ClusterColocationProfileSpec(Struct):
    """Which pods (of which namespaces), and what they get. ``patch`` comes last."""

    namespace_selector: LabelSelector | None = None  #: Namespaces; absent or empty is all.
    selector: LabelSelector | None = None  #: Pods by label; absent or empty is all.
    probability: IntOrString | None = None  #: Percent of matching pods that it applies to.
    #: QoS class that they get.
    qos_class: Annotated[str, schema(enum=QOS_CLASSES)] = msgspec.field(default="", name="qosClass")
    priority_class_name: str = ""  #: PriorityClass that they get.
    koordinator_priority: Int32 | None = None  #: Order inside the band that they get.
    labels: dict[str, str] | None = None  #: Labels that are set.
    annotations: dict[str, str] | None = None  #: Annotations that are set.
    label_keys_mapping: dict[str, str] | None = None  #: New label key for an old one's value.
    annotation_keys_mapping: dict[str, str] | None = None  #: New annotation key for an old one's value.
    label_suffixes: dict[str, str] | None = None  #: Appended to values of labels that are there.
    scheduler_name: str = ""  #: Scheduler that they get.
    patch: Any = None  #: Strategic merge patch, applied last.


class ClusterColocationProfile(Object):
    """Applied to pods as they are created."""

    spec: ClusterColocationProfileSpec = msgspec.field(default_factory=ClusterColocationProfileSpec)
