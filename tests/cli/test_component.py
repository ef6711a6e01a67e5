"""Components as verbs and as scripts: how they end when called wrongly."""

import pytest
from typer.testing import CliRunner

from koordinator.cli import main, manager, scheduler

COMPONENTS = [(manager.COMPONENT, 2), (scheduler.COMPONENT, 1)]


@pytest.mark.parametrize(("component", "code"), COMPONENTS)
def test_a_script_ends_as_its_go_twin_when_called_wrongly(component, code, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [f"koord-{component.name}", "--no-such-flag"])
    with pytest.raises(SystemExit) as caught:
        component.script()
    assert caught.value.code == code
    assert capsys.readouterr().err == f"koord-{component.name}: unknown flag: --no-such-flag\n"


@pytest.mark.parametrize("component", [one for one, _ in COMPONENTS])
def test_a_verb_called_wrongly_ends_with_2(component):
    done = CliRunner().invoke(main.app, [component.name, "--no-such-flag"])
    assert (done.exit_code, done.stderr) == (2, f"koord {component.name}: unknown flag: --no-such-flag\n")


@pytest.mark.parametrize("component", [one for one, _ in COMPONENTS])
def test_help_lists_every_flag(component):
    done = CliRunner().invoke(main.app, [component.name, "--help"])
    assert done.exit_code == 0
    assert [flag.name for flag in component.flags if f"--{flag.name}\n" not in done.stdout] == []
