"""ClusterColocationProfiles: which of them match a pod, and what each does to it.

A selector that is itself broken counts as matching: a profile must not silently stop applying because of a typo.
"""

import copy
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from koordinator.api import keys, priority, selectors
from koordinator.api.config import ClusterColocationProfile
from koordinator.api.core import Pod, PriorityClass
from koordinator.api.meta import LabelSelector
from koordinator.api.selectors import Selector
from koordinator.kube.errors import ApiError
from koordinator.kube.patches import strategic_merge
from koordinator.manager.webhooks.pods.translate import translate_pod

JsonObject = dict[str, Any]


def draw_percent() -> int:
    """A random number in [0, 100)."""
    return random.randrange(100)  # noqa: S311 — a share of pods, not a secret


class Surroundings(msgspec.Struct, frozen=True):
    """What of the cluster the mutation of one pod reads."""

    priority_class: Callable[[str], PriorityClass | None]
    draw: Callable[[], int] = draw_percent
    skip_resources: bool = False


class Compiled(msgspec.Struct, frozen=True):
    """A profile with its selectors ready to be asked; None asks nothing of that side."""

    profile: ClusterColocationProfile
    namespaces: Selector | None
    pods: Selector | None


def compile_profile(profile: ClusterColocationProfile) -> Compiled:
    return Compiled(profile, _compile(profile.spec.namespace_selector), _compile(profile.spec.selector))


def _compile(selector: LabelSelector | None) -> Selector | None:
    if selectors.is_empty(selector):
        return None
    try:
        return selectors.compile_(selector)
    except ValueError:
        return None


def matching(
    profiles: Iterable[Compiled], labels: Mapping[str, str], namespace_labels: Mapping[str, str] | None
) -> list[ClusterColocationProfile]:
    """The profiles that match a pod, in the order in which they apply.

    ``namespace_labels`` is None for an unknown namespace: then no namespace selector is asked.
    """
    found = [
        one.profile
        for one in profiles
        if (one.pods is None or one.pods.matches(labels))
        and (one.namespaces is None or namespace_labels is None or one.namespaces.matches(namespace_labels))
    ]
    return sorted(found, key=lambda profile: profile.name)


def matching_labels(profiles: Iterable[Compiled], labels: Mapping[str, str]) -> list[ClusterColocationProfile]:
    """The profiles whose pod selector matches, namespaces aside, in the order in which they apply."""
    return matching(profiles, labels, None)


def apply_to_reservation(reservation: JsonObject, profiles: list[ClusterColocationProfile], around: Surroundings) -> None:
    """Apply matching profiles to a Reservation in place: what belongs into a pod's spec goes into its template, if it has one.

    Raises: ValueError naming the profile and the field.
    """
    for profile in profiles:
        if skipped(profile, around.draw):
            continue
        _apply_metadata(reservation, profile)
        if template := (reservation.get("spec") or {}).get("template"):
            _apply_spec(template, profile, around)
        _apply_koordinator(reservation, profile)


def apply_profiles(pod: JsonObject, profiles: list[ClusterColocationProfile], around: Surroundings) -> None:
    """Apply matching profiles to ``pod`` in place, later ones over earlier ones, then translate its resources once.

    Raises: ValueError naming the profile and the field.
    """
    skip_resources = around.skip_resources
    for profile in profiles:
        skip_resources = skip_resources or keys.SKIP_UPDATE_RESOURCES in profile.annotations
        if not skipped(profile, around.draw):
            _apply(pod, profile, around)
    if not skip_resources:
        try:
            band = priority.with_default(msgspec.convert(pod, Pod))
        except msgspec.ValidationError as err:
            names = ", ".join(profile.name for profile in profiles)
            raise ValueError(f"the pod cannot be read after ClusterColocationProfile {names}: {err}") from err
        translate_pod(pod, band)


def skipped(profile: ClusterColocationProfile, draw: Callable[[], int]) -> bool:
    """Whether chance leaves a pod out. Raises ValueError."""
    percent = probability(profile)
    return percent == 0 or (percent != 100 and draw() > percent)


def probability(profile: ClusterColocationProfile) -> int:
    """Percent of matching pods that the profile applies to. Raises ValueError."""
    given = profile.spec.probability
    if given is None:
        return 100
    if isinstance(given, int):
        return given
    number = given.removesuffix("%")
    if number == given or not number.lstrip("+-").isdecimal():
        raise ValueError(
            f"ClusterColocationProfile {profile.name}: spec.probability is {given!r}, neither a number nor a percentage"
        )
    return int(number)


def _apply(pod: JsonObject, profile: ClusterColocationProfile, around: Surroundings) -> None:
    _apply_metadata(pod, profile)
    _apply_spec(pod, profile, around)
    _apply_koordinator(pod, profile)


def _apply_metadata(obj: JsonObject, profile: ClusterColocationProfile) -> None:
    spec = profile.spec
    _set(obj, "labels", spec.labels)
    _set(obj, "annotations", spec.annotations)
    _map_keys(obj, "labels", spec.label_keys_mapping)
    _map_keys(obj, "annotations", spec.annotation_keys_mapping)
    labels = _texts(obj, "labels")
    _set(obj, "labels", {key: labels[key] + suffix for key, suffix in (spec.label_suffixes or {}).items() if key in labels})


def _apply_spec(pod: JsonObject, profile: ClusterColocationProfile, around: Surroundings) -> None:
    if profile.spec.scheduler_name:
        _spec(pod)["schedulerName"] = profile.spec.scheduler_name
    if profile.spec.priority_class_name:
        _set_priority(_spec(pod), profile.spec.priority_class_name, profile.name, around)


def _apply_koordinator(obj: JsonObject, profile: ClusterColocationProfile) -> None:
    spec = profile.spec
    if spec.qos_class:
        _set(obj, "labels", {keys.QOS_CLASS: spec.qos_class})
    if spec.koordinator_priority is not None:
        _set(obj, "labels", {keys.PRIORITY: str(spec.koordinator_priority)})
    if spec.patch is not None:
        _patch(obj, profile)


def apply_to_existing(pod: JsonObject, profile: ClusterColocationProfile) -> None:
    """What a profile may still do to a pod that is there: everything but scheduler, priority class and resources, in place."""
    _apply_metadata(pod, profile)
    _apply_koordinator(pod, profile)


def _patch(pod: JsonObject, profile: ClusterColocationProfile) -> None:
    if not isinstance(profile.spec.patch, dict):
        raise ValueError(f"ClusterColocationProfile {profile.name}: spec.patch is no object")  # noqa: TRY004 — data, not a bug
    try:
        merged = strategic_merge(pod, copy.deepcopy(profile.spec.patch))  # a merge shares what it takes over
    except ApiError as err:
        raise ValueError(f"ClusterColocationProfile {profile.name}: spec.patch does not fit the pod: {err}") from err
    pod.clear()
    pod.update(merged)


def _set_priority(spec: JsonObject, name: str, profile: str, around: Surroundings) -> None:
    found = around.priority_class(name)
    if found is None:
        raise ValueError(
            f'ClusterColocationProfile {profile}: spec.priorityClassName: priorityclasses.scheduling.k8s.io "{name}" not found'
        )
    spec["priorityClassName"] = name
    spec["priority"] = found.value
    spec.pop("preemptionPolicy", None)
    if found.preemption_policy:
        spec["preemptionPolicy"] = found.preemption_policy


def _map_keys(pod: JsonObject, kind: str, mapping: Mapping[str, str] | None) -> None:
    """Copy values to other keys, sources in sorted order; a missing source gives the empty text."""
    for source in sorted(mapping or ()):
        _set(pod, kind, {(mapping or {})[source]: _texts(pod, kind).get(source, "")})


def _set(pod: JsonObject, kind: str, texts: Mapping[str, str] | None) -> None:
    if texts:
        metadata = pod.setdefault("metadata", {})
        metadata[kind] = {**(metadata.get(kind) or {}), **texts}


def _texts(pod: JsonObject, kind: str) -> Mapping[str, str]:
    return (pod.get("metadata") or {}).get(kind) or {}


def _spec(pod: JsonObject) -> JsonObject:
    spec: JsonObject = pod.setdefault("spec", {})
    return spec
