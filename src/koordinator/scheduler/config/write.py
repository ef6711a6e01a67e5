"""`--write-config-to`: the configuration that would run, every default filled in, as YAML."""

from pathlib import Path
from typing import Any

import msgspec

from koordinator.api import durations
from koordinator.errors import Unavailable
from koordinator.kube.leader import LeaseTimes
from koordinator.scheduler.catalogue import Catalogue, with_entry_points
from koordinator.scheduler.config import multipoint
from koordinator.scheduler.config.read import Reading, check, read_file
from koordinator.scheduler.config.types import GROUP, VERSION, PluginConfig, ProfileConfig
from koordinator.scheduler.options import SchedulerOptions
from koordinator.scheduler.profiles import shipped_configuration


def write(options: SchedulerOptions, path: str) -> None:
    """Raises: ConfigInvalid, Unavailable."""
    catalogue = with_entry_points()
    try:
        Path(path).write_text(as_yaml(_as_given(current(options, catalogue), options)))
    except OSError as err:
        raise Unavailable(f"file {path}", err.strerror or str(err), "--write-config-to names it") from err


def current(options: SchedulerOptions, catalogue: Catalogue) -> Reading:
    """What the options lead to: the file that they name, or the shipped configuration."""
    if options.config:
        return read_file(options.config, catalogue)
    configuration = shipped_configuration(options.scheduler_names[:1])
    return Reading(configuration, check(configuration, catalogue))


def _as_given(reading: Reading, options: SchedulerOptions) -> Reading:
    """With what the command line decided in place of the file."""
    file, election = reading.configuration, options.election
    times = {name: getattr(election.times, name) for name in LeaseTimes.__struct_fields__}
    lease = msgspec.structs.replace(
        file.leader_election,
        leader_elect=options.leader_elect,
        resource_name=election.name,
        resource_namespace=election.namespace,
        **{name: durations.to_text(round(seconds * 1e9)) for name, seconds in times.items()},
    )
    client = msgspec.structs.replace(
        file.client_connection, kubeconfig=options.kubeconfig or "", qps=options.qps, burst=options.burst
    )
    changed = msgspec.structs.replace(file, leader_election=lease, client_connection=client, enable_profiling=options.profiling)
    return Reading(changed, reading.args)


def as_yaml(reading: Reading) -> str:
    import yaml

    text: str = yaml.safe_dump(as_plain(reading), sort_keys=False)
    return text


def as_plain(reading: Reading) -> dict[str, Any]:
    """Every field under its name in the file, those with default values as well."""
    profiles = [_full(profile, args) for profile, args in zip(reading.configuration.profiles, reading.args, strict=True)]
    whole = msgspec.structs.replace(reading.configuration, api_version=VERSION, profiles=profiles)
    return {"apiVersion": VERSION, "kind": whole.kind, **_plain(whole)}


def _full(profile: ProfileConfig, args: dict[str, Any]) -> ProfileConfig:
    named = [
        PluginConfig(name=name, args={"apiVersion": f"{GROUP}/v1", "kind": f"{name}Args", **_plain(value)})
        for name, value in sorted(args.items())
        if isinstance(value, msgspec.Struct)
    ]
    raw = [PluginConfig(name=name, args=value) for name, value in args.items() if not isinstance(value, msgspec.Struct)]
    plugins = multipoint.with_defaults(profile.plugins)
    return msgspec.structs.replace(profile, plugins=plugins, plugin_config=[*named, *raw])


def _plain(value: Any) -> Any:
    """Wire names and every field, those with default values as well; absent ones left out."""
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(value)
        pairs = ((field.encode_name, getattr(value, field.name)) for field in fields)
        return {name: _plain(item) for name, item in pairs if item is not None}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
