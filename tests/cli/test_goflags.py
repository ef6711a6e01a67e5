"""Flags in the Go components' forms."""

import pytest

from koordinator.cli import goflags
from koordinator.cli.goflags import Misuse, duration, many, number, parse, switch, text, usage, whole

FLAGS = (
    text("name", "x", "a name"),
    switch("on", "a switch"),
    switch("off", "another", default=True),
    whole("count", 3, "how many"),
    number("rate", 1.5, "how fast"),
    duration("wait", 30.0, "how long"),
    many("words", "a,b", "which"),
    *goflags.LOG_FLAGS,
)


def test_nothing_given_is_the_defaults():
    found = parse(FLAGS, [])
    assert {name: found[name] for name in ("name", "on", "off", "count", "rate", "wait", "words")} == {
        "name": "x",
        "on": False,
        "off": True,
        "count": 3,
        "rate": 1.5,
        "wait": 30.0,
        "words": ("a", "b"),
    }


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--name=y"], "name", "y"),
        (["-name", "y"], "name", "y"),
        (["--name", "--odd"], "name", "--odd"),
        (["--name="], "name", ""),
        (["--name=a=b"], "name", "a=b"),
        (["--name=1", "--name=2"], "name", "2"),
        (["--on"], "on", True),
        (["-on", "--off=false"], "off", False),
        (["--on=F"], "on", False),
        (["--count=-7"], "count", -7),
        (["--rate=2e1"], "rate", 20.0),
        (["--wait=1m30s"], "wait", 90.0),
        (["--words= c ,,d"], "words", ("c", "d")),
        (["--words="], "words", ()),
        (["-v=4"], "v", 4),
        (["--skip-headers"], "skip_headers", True),
        (["--skip_headers"], "skip_headers", True),
    ],
)
def test_every_form_is_read(arguments, name, value):
    assert parse(FLAGS, arguments)[name] == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nmae=y"], "unknown flag: --nmae; did you mean --name?"),
        (["--zzz"], "unknown flag: --zzz"),
        (["--count=many"], 'invalid argument "many" for "--count" flag: '),
        (["--on=maybe"], 'invalid argument "maybe" for "--on" flag: '),
        (["--wait=5"], 'invalid argument "5" for "--wait" flag: '),
        (["--name"], "flag needs an argument: --name"),
        (["stray"], "'stray' is not a flag"),
        (["--"], "'--' is not a flag"),
        (["---name=y"], "'---name=y' is not a flag"),
    ],
)
def test_what_cannot_be_read_names_the_flag(arguments, message):
    with pytest.raises(Misuse) as caught:
        parse(FLAGS, arguments)
    assert str(caught.value).startswith(message)


def test_usage_names_every_flag_and_its_default():
    shown = usage(FLAGS)
    assert all(f"--{flag.name}\n" in shown for flag in FLAGS)
    assert "how long (default 30)" in shown
    assert "which (default a,b)" in shown
