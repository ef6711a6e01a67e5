"""Changed configuration files: what is taken up goes to the profile that runs under that name, whatever the file's order."""

import pytest

from koordinator.clock import ManualClock
from koordinator.scheduler.app import App, SchedulerOptions
from koordinator.scheduler.reload import take_up

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n"
PROFILE = """
- schedulerName: {name}
  plugins: {{score: {{enabled: [{{name: NodeResourcesFit, weight: {weight}}}, {{name: LoadAwareScheduling}}]}}{more}}}
  pluginConfig:
  - name: LoadAwareScheduling
    args: {{usageThresholds: {{cpu: {threshold}}}}}
"""


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "config.yaml"

    def write(*profiles):
        usual = {"weight": 1, "threshold": 65, "more": ""}
        file.write_text(HEAD + "".join(PROFILE.format(**usual | profile) for profile in profiles))
        return str(file)

    return write


def started(path):
    return App(None, SchedulerOptions(config=path), ManualClock())


def weight_of(app, name):
    return {plugin.name: weight for plugin, weight in app.scheduler.profiles[name].scores}["NodeResourcesFit"]


def threshold_of(app, name):
    return app.scheduler.profiles[name].plugins["LoadAwareScheduling"].args.usage_thresholds["cpu"]


def test_profiles_keep_their_own_settings_when_the_file_lists_them_in_another_order(file):
    app = started(file({"name": "one"}, {"name": "two"}))
    file({"name": "two", "weight": 2}, {"name": "one"})
    assert take_up(app) == []
    file({"name": "two", "weight": 4, "threshold": 44}, {"name": "one", "weight": 3, "threshold": 33})
    assert take_up(app) == []
    assert (weight_of(app, "one"), threshold_of(app, "one")) == (3, 33)
    assert (weight_of(app, "two"), threshold_of(app, "two")) == (4, 44)


def test_a_profile_that_is_new_is_named_until_the_restart_and_in_nobodys_way(file):
    app = started(file({"name": "one"}))
    file({"name": "new"}, {"name": "one"})
    assert take_up(app) == ["profiles[0]"]
    file({"name": "new", "weight": 7}, {"name": "one", "weight": 3})
    assert take_up(app) == ["profiles[0]"]
    assert weight_of(app, "one") == 3


def test_a_profile_that_has_left_the_file_runs_on_and_takes_up_what_it_says_when_it_is_back(file):
    app = started(file({"name": "one"}, {"name": "two"}))
    file({"name": "one"})
    assert take_up(app) == ["profiles: two"]
    file({"name": "one"}, {"name": "two", "threshold": 44})
    take_up(app)
    assert threshold_of(app, "two") == 44


def test_a_file_that_names_a_plugin_where_it_does_not_run_changes_nothing(file, caplog):
    app = started(file({"name": "one"}, {"name": "two"}))
    misplaced = ", filter: {enabled: [{name: ImageLocality}]}"
    file({"name": "one", "threshold": 33}, {"name": "two", "more": misplaced})
    assert take_up(app) == []
    assert threshold_of(app, "one") == 65
    assert "profiles[1].plugins.filter.enabled[0].name is 'ImageLocality'" in caplog.text


def test_a_plugin_that_raises_over_its_new_arguments_keeps_no_other_from_theirs(file, caplog, monkeypatch):
    app = started(file({"name": "one"}))
    plugin = app.profile.plugins["LoadAwareScheduling"]

    def broken(_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(plugin, "reconfigure", broken)
    file({"name": "one", "weight": 3, "threshold": 33})
    assert take_up(app) == ["profiles[0].pluginConfig: LoadAwareScheduling"]
    assert weight_of(app, "one") == 3
    assert "a bug" in caplog.text
