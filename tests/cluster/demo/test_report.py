import json

from koordinator.cluster.demo.measure import BatchLine, CpuSample, LoadLine, Phase, Records, Window
from koordinator.cluster.demo.report import draw_timeline, table, verdict, write_json

PHASES = [
    Phase("alone", 0.2, 99.5, 2.0, 4.0, 6.0, 0),
    Phase("unprotected", 1.0, 80.0, 20.0, 90.0, 120.0, 10_000),
    Phase("koordinator", 0.8, 99.0, 2.5, 9.0, 14.0, 7_000),
]


def test_the_table_is_aligned():
    assert table(PHASES).split("\n") == [
        "phase        node CPU  requests/s  p50 ms  p99 ms  p99.9 ms  batch work",
        "-----------  --------  ----------  ------  ------  --------  ----------",
        "alone             20%        99.5     2.0     4.0       6.0           0",
        "unprotected      100%        80.0    20.0    90.0     120.0      10,000",
        "koordinator       80%        99.0     2.5     9.0      14.0       7,000",
    ]


def test_the_verdict_compares_with_the_service_alone_and_unprotected():
    said = verdict(PHASES)
    assert "4.0 times as busy" in said
    assert "9.0 ms under" in said
    assert "70% of the work" in said


def test_the_json_has_the_documented_shape(tmp_path):
    write_json(tmp_path / "report.json", {"name": "here", "cpus": 2}, PHASES)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["node"] == {"name": "here", "cpus": 2}
    assert [phase["name"] for phase in report["phases"]] == ["alone", "unprotected", "koordinator"]
    assert {"cpu_utilization", "requests_per_second", "p50_ms", "p99_ms", "p999_ms", "batch_work"} <= set(report["phases"][0])


def test_the_timeline_is_a_picture(tmp_path):
    windows = [Window("alone", 100, 103), Window("unprotected", 104, 107), Window("koordinator", 108, 111)]
    records = Records(
        load=[LoadLine(100 + second, [1.0 + second, 2.0]) for second in range(12)],
        batch=[[BatchLine(104 + second, second * 10) for second in range(8)]],
        cpu=[CpuSample(100 + second, second * 50, second * 200) for second in range(12)],
    )
    draw_timeline(tmp_path / "timeline.png", windows, records)
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")
