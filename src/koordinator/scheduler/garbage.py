"""What of an object cannot be read: an event on the object that names field and reason, once and not at every update.

Whatever cannot be read counts as absent, or the last good state stays in force; nothing else stops for it.
"""

import logging
from collections.abc import Iterable, Iterator

from koordinator.api.annotations import Malformed
from koordinator.api.core import Node, Pod
from koordinator.api.meta import Object
from koordinator.api.numa import NODE_RESERVATION, reserved_resources
from koordinator.scheduler.engine.hooks import AnnotationPlugin
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.report import Reporter

log = logging.getLogger(__name__)

INVALID_ANNOTATION, UNREADABLE = "InvalidAnnotation", "Unreadable"


class Garbage:
    """Remembers what it has told of which object."""

    def __init__(self, profiles: Iterable[Profile], reporter: Reporter) -> None:
        plugins = [plugin for profile in profiles for plugin in profile.plugins.values()]
        self._readers = {plugin.name: plugin for plugin in plugins if isinstance(plugin, AnnotationPlugin)}
        self._reporter = reporter
        self._told: dict[tuple[str, ...], frozenset[str]] = {}

    def annotations(self, obj: Node | Pod) -> None:
        """Tell of annotations that those who want to read them cannot."""
        found = frozenset(self._found(obj)) if obj.metadata.annotations else frozenset()
        self._tell(obj, INVALID_ANNOTATION, found)

    def state(self, obj: Object, said: str = "", by: str = "") -> None:
        """The object as a whole: why it cannot be read, or (empty) that it can. ``by``: which plugin reads it."""
        self._tell(obj, UNREADABLE, frozenset((said,)) if said else frozenset(), by)

    def forget(self, obj: Object, by: str = "") -> None:
        for event in (INVALID_ANNOTATION, UNREADABLE):
            self._told.pop(_identity(obj, event, by), None)

    def _tell(self, obj: Object, event: str, found: frozenset[str], by: str = "") -> None:
        if not found and not self._told:
            return
        identity = _identity(obj, event, by)
        for text in sorted(found - self._told.get(identity, frozenset())):
            self._reporter.warn(obj, event, text)
        if found:
            self._told[identity] = found
        else:
            self._told.pop(identity, None)

    def _found(self, obj: Node | Pod) -> Iterator[str]:
        if isinstance(obj, Node):
            yield from _reservation(obj)
        for reader in self._readers.values():
            try:
                yield from reader.unreadable(obj)
            except Exception:  # the plugin's bug, and about garbage at that
                log.exception("plugin %s looking for what cannot be read in %s", reader.name, obj.key)


def _identity(obj: Object, event: str, by: str) -> tuple[str, ...]:
    return obj.kind or type(obj).__name__, obj.key, event, by


def _reservation(node: Node) -> Iterator[str]:
    """What the node keeps for itself is taken off before any plugin sees it."""
    kept = NODE_RESERVATION.read(node.metadata.annotations)
    if isinstance(kept, Malformed):
        yield str(kept)
    elif kept is not None:
        try:
            reserved_resources(kept)
        except ValueError as err:
            yield f"{NODE_RESERVATION.key}: reservedCPUs: {err}"
