from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from koordinator.cli.main import app, main
from koordinator.cli.reference import reference

COMMANDS = typer.main.get_command(app).commands
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_says_what_it_does(name):
    assert COMMANDS[name].help
    for option in COMMANDS[name].params:
        assert option.help, f"{name} {option.opts}"


def test_the_reference_is_what_the_commands_say():
    assert PAGE.read_text() == reference(), "run `make docs`"


@pytest.mark.parametrize("verb", [["down"], ["status"], ["apply", "-f", "x.yaml"], ["kubectl", "get", "pods"]])
def test_without_a_cluster_each_verb_is_one_sentence_and_exit_code_1(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["koord", verb[0], "--data", str(tmp_path), *verb[1:]])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == (
        f"koord: cluster: none runs on {tmp_path}; start one with `koord up`, or name its --data\n"
    )


def test_a_wrong_call_is_exit_code_2():
    assert CliRunner().invoke(app, ["up", "--port", "70000"]).exit_code == 2
