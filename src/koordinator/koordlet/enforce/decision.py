"""What a strategy may decide. It looks at a view and returns one of these; only the executor touches files."""

import msgspec


class Subject(msgspec.Struct, frozen=True):
    """Whom a write is about, for the audit log. ``type`` is node, pod or group."""

    type: str = "node"
    namespace: str = ""
    name: str = ""
    container: str = ""


NODE = Subject()


class Write(msgspec.Struct, frozen=True):
    """One value for one cgroup file, both in v1 terms.

    ``owner``: the feature that wants it. ``restore``: the value to leave behind when the feature is turned off; None means what
    was there before the first write. ``cached``: trust the executor's memory instead of reading the file again. ``raw``:
    ``value`` is the file's own text.
    """

    group: str
    file: str
    value: str
    owner: str
    subject: Subject = NODE
    restore: str | None = None
    cached: bool = True
    raw: bool = False


class Skip(msgspec.Struct, frozen=True):
    """Nothing to do this round, and why."""

    reason: str


Decision = list[Write] | Skip
