"""From the text of a configuration file to a checked ``Configuration`` with every plugin's arguments typed.

Every refusal names the field's path in the file and the reason.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from koordinator.api import durations
from koordinator.errors import ConfigInvalid, Unavailable
from koordinator.scheduler.catalogue import PLANNED, Catalogue
from koordinator.scheduler.config import multipoint
from koordinator.scheduler.config.args import KINDS, Kind, require
from koordinator.scheduler.config.strict import EFFECT, convert, parse
from koordinator.scheduler.config.types import (
    KIND,
    OLD_VERSIONS,
    VERSION,
    Configuration,
    ExtenderConfig,
    PluginRef,
    Plugins,
    ProfileConfig,
)

log = logging.getLogger(__name__)

_MOST_WEIGHT = (1 << 63) // 100


class Reading(msgspec.Struct, frozen=True):
    """A configuration, and per profile every plugin's defaulted arguments."""

    configuration: Configuration
    args: list[dict[str, Any]]


def read_file(path: str | Path, catalogue: Catalogue) -> Reading:
    """Raises: Unavailable, ConfigInvalid."""
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as err:
        reason = err.strerror if isinstance(err, OSError) and err.strerror else str(err)
        raise Unavailable(f"configuration file {path}", reason, "--config names it") from err
    return read(text, catalogue, str(path))


def read(text: str, catalogue: Catalogue, where: str = "configuration") -> Reading:
    """Raises: ConfigInvalid."""
    plain = parse(text, where)
    if not isinstance(plain, dict):
        raise ConfigInvalid(where, plain, "must be a KubeSchedulerConfiguration", EFFECT)
    _check_version(plain)
    configuration = convert(plain, Configuration, "")
    return Reading(configuration, check(configuration, catalogue))


def _check_version(plain: dict[str, Any]) -> None:
    version, kind = plain.get("apiVersion"), plain.get("kind")
    if version in OLD_VERSIONS:
        log.warning("configuration: apiVersion %s is old; it is read as %s", version, VERSION)
    elif version != VERSION:
        rule = f'must be {VERSION}: no kind "{kind}" is registered for version "{version}"'
        raise ConfigInvalid("apiVersion", version, rule, EFFECT)
    if kind != KIND:
        raise ConfigInvalid("kind", kind, f"must be {KIND}", EFFECT)


# --- rules --------------------------------------------------------------------------------------------------------------


def check(configuration: Configuration, catalogue: Catalogue) -> list[dict[str, Any]]:
    """The arguments of every profile's plugins. Raises: ConfigInvalid for the first field that breaks its rule."""
    _check_head(configuration)
    _check_profiles(configuration.profiles)
    for index, extender in enumerate(configuration.extenders or ()):
        _check_extender(extender, f"extenders[{index}]")
    binders = [index for index, one in enumerate(configuration.extenders or ()) if one.bind_verb]
    require(
        len(binders) <= 1, f"extenders[{binders[-1] if binders else 0}].bindVerb", "", "only one extender can implement bind"
    )
    args = []
    for index, profile in enumerate(configuration.profiles):
        where = f"profiles[{index}]"
        _check_plugins(profile, catalogue, f"{where}.plugins")
        args.append(_plugin_args(profile, catalogue, f"{where}.pluginConfig"))
    return args


def _check_head(configuration: Configuration) -> None:
    election = configuration.leader_election
    require(
        configuration.parallelism > 0, "parallelism", configuration.parallelism, "should be an integer value greater than zero"
    )
    first, most = configuration.pod_initial_backoff_seconds, configuration.pod_max_backoff_seconds
    require(first > 0, "podInitialBackoffSeconds", first, "must be greater than 0")
    require(most >= first, "podMaxBackoffSeconds", most, "must be greater than or equal to PodInitialBackoffSeconds")
    _check_share("percentageOfNodesToScore", configuration.percentage_of_nodes_to_score)
    burst = configuration.client_connection.burst
    require(burst >= 0, "clientConnection.burst", burst, "must be non-negative")
    if election.leader_elect:
        _check_election(configuration)


def _check_election(configuration: Configuration) -> None:
    election = configuration.leader_election
    lease, renew, retry = (
        durations.seconds(text) for text in (election.lease_duration, election.renew_deadline, election.retry_period)
    )
    require(lease > renew, "leaderElection.leaseDuration", election.lease_duration, "must be greater than renewDeadline")
    require(retry > 0, "leaderElection.retryPeriod", election.retry_period, "must be greater than zero")
    rule = "must be greater than 1.2 × retryPeriod"
    require(renew > 1.2 * retry, "leaderElection.renewDeadline", election.renew_deadline, rule)
    require(election.resource_lock == "leases", "leaderElection.resourceLock", election.resource_lock, "must be leases")
    require(bool(election.resource_name), "leaderElection.resourceName", election.resource_name, "must not be empty")
    namespace = election.resource_namespace
    require(bool(namespace), "leaderElection.resourceNamespace", namespace, "must not be empty")


def _check_share(where: str, share: int | None) -> None:
    require(share is None or 0 <= share <= 100, where, share, "not in valid range [0-100]")


def _check_profiles(profiles: list[ProfileConfig]) -> None:
    require(bool(profiles), "profiles", profiles, "must have at least one profile")
    seen: dict[str, int] = {}
    for index, profile in enumerate(profiles):
        where, name = f"profiles[{index}].schedulerName", profile.scheduler_name
        require(bool(name), where, name, "must not be empty")
        require(name not in seen, where, name, f"is the same as that of profiles[{seen.get(name)}]")
        seen[name] = index
        _check_share(f"profiles[{index}].percentageOfNodesToScore", profile.percentage_of_nodes_to_score)
    sorts = [_queue_sort(profile) for profile in profiles]
    for index, sort in enumerate(sorts):
        rule = "must be the same for all profiles"
        require(sort == sorts[0], f"profiles[{index}].plugins.queueSort", " ".join(sort[0]), rule)


def _queue_sort(profile: ProfileConfig) -> tuple[list[str], Any]:
    sort = multipoint.with_defaults(profile.plugins).queue_sort
    names = [one.name for one in multipoint.merged([PluginRef(name="PrioritySort")], sort).enabled or ()]
    args = [one.args for one in profile.plugin_config or () if one.name in names]
    return names, args


def _check_extender(extender: ExtenderConfig, where: str) -> None:
    require(bool(extender.url_prefix), f"{where}.urlPrefix", extender.url_prefix, "must not be empty")
    rule = "must be a positive number: prioritizeVerb is set"
    require(not extender.prioritize_verb or extender.weight > 0, f"{where}.weight", extender.weight, rule)
    timeout = extender.http_timeout
    require(durations.parse(timeout) > 0, f"{where}.httpTimeout", timeout, "must be more than 0")
    seen = set()
    for index, one in enumerate(extender.managed_resources or ()):
        path = f"{where}.managedResources[{index}].name"
        require("/" in one.name, path, one.name, "must be an extended resource name")
        require(one.name not in seen, path, one.name, "stands twice")
        seen.add(one.name)


def _check_plugins(profile: ProfileConfig, catalogue: Catalogue, where: str) -> None:
    for point in (*multipoint.POINTS, "multi_point"):
        chosen = getattr(profile.plugins or Plugins(), point)
        path = f"{where}.{multipoint.wire_name(point)}.enabled"
        seen = set()
        total = 0
        for index, one in enumerate(chosen.enabled or ()):
            known = one.name in catalogue or one.name in PLANNED
            require(
                known, f"{path}[{index}].name", one.name, f'{multipoint.wire_name(point)} plugin "{one.name}" does not exist'
            )
            require(one.name not in seen, f"{path}[{index}].name", one.name, f'plugin "{one.name}" already registered')
            require(one.weight >= 0, f"{path}[{index}].weight", one.weight, "must be 0 or more")
            total += one.weight
            require(total <= _MOST_WEIGHT, f"{path}[{index}].weight", one.weight, "total score of Score plugins could overflow")
            seen.add(one.name)


# --- arguments ----------------------------------------------------------------------------------------------------------


def _plugin_args(profile: ProfileConfig, catalogue: Catalogue, where: str) -> dict[str, Any]:
    """Typed and defaulted arguments by plugin; those without an entry get their defaults."""
    given: dict[str, Any] = {}
    for index, one in enumerate(profile.plugin_config or ()):
        path = f"{where}[{index}]"
        require(bool(one.name), f"{path}.name", one.name, "must not be empty")
        require(one.name not in given, f"{path}.name", one.name, "stands twice")
        rule = "is not a plugin that we know"
        require(one.name in catalogue or one.name in PLANNED, f"{path}.name", one.name, rule)
        given[one.name] = plugin_args(one.name, one.args, catalogue, f"{path}.args")
    for name, kind in _kinds(catalogue).items():
        if name not in given:
            given[name] = kind.checked(kind.defaulted(kind.type()))
    return given


def _kinds(catalogue: Catalogue) -> Mapping[str, Kind]:
    return KINDS | {name: entry.args for name, entry in catalogue.items() if entry.args is not None}


def plugin_args(name: str, raw: Any, catalogue: Catalogue, where: str) -> Any:
    """One plugin's arguments from plain data. Raises: ConfigInvalid with ``where`` before the field's name."""
    kind = _kinds(catalogue).get(name)
    if kind is None:
        return raw
    plain = dict(raw) if isinstance(raw, dict) else raw
    if isinstance(plain, dict):
        _check_kind(name, plain.pop("apiVersion", None), plain.pop("kind", None), where)
    args = convert(plain, kind.type, where)
    try:
        return kind.checked(kind.defaulted(args))
    except ConfigInvalid as err:
        _, dot, field = err.where.partition("Args.")
        raise ConfigInvalid(f"{where}.{field if dot else err.where}", err.value, err.rule, err.effect) from None


def _check_kind(name: str, version: Any, kind: Any, where: str) -> None:
    version, kind = version or VERSION, kind or f"{name}Args"
    if kind != f"{name}Args" or version not in (VERSION, *OLD_VERSIONS):
        rule = f"args for plugin {name} were not of type {VERSION}, Kind={name}Args, got {version}, Kind={kind}"
        raise ConfigInvalid(f"{where}.kind", kind, rule, EFFECT)
