"""The family of errors that a person is meant to read.

KoordError
├── ConfigInvalid      a value in a file, flag or ConfigMap breaks its rule
├── Unavailable        something that we need is not there (port, cgroup controller, API server)
└── kube.errors.ApiError   the API server said no (lives with the client)

Whatever is not in this family is a bug and shows its traceback. Bad data in objects is not an error but a value
(``api.annotations.Malformed``): one bad object never stops a loop.
"""


class KoordError(Exception):
    """Base of every error that the command line prints as one sentence, exit code 1."""


class ConfigInvalid(KoordError):
    """A configuration value breaks its rule: where it stands, what it is, the rule, and what happens now."""

    def __init__(self, where: str, value: object, rule: str, effect: str) -> None:
        super().__init__(f"{where} is {value!r}, {rule}; {effect}")
        self.where, self.value, self.rule, self.effect = where, value, rule, effect


class Unavailable(KoordError):
    """Something that we need is not there: what, why, and what to do about it."""

    def __init__(self, what: str, why: str, remedy: str = "") -> None:
        super().__init__(f"{what}: {why}" + (f"; {remedy}" if remedy else ""))
        self.what, self.why, self.remedy = what, why, remedy


def readable(err: BaseException) -> KoordError | None:
    """The error that a person is meant to read, out of a task group's bundle; None when a bug is among them."""
    if isinstance(err, KoordError):
        return err
    if not isinstance(err, BaseExceptionGroup):
        return None
    found = [readable(inner) for inner in err.exceptions]
    return None if None in found else found[0]
