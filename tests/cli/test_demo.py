import pytest

from koordinator.cli.main import main


def test_a_folder_that_is_not_the_demos_is_not_removed(tmp_path, monkeypatch, capsys):
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "mine.txt").write_text("precious")
    monkeypatch.setattr("sys.argv", ["koord", "demo", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert "it is not a demo's cluster; choose another folder with --out" in capsys.readouterr().err
    assert (tmp_path / "cluster" / "mine.txt").read_text() == "precious"
