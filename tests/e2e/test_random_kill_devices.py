"""Two runs that share two devices are killed at random moments and resumed at once: no two nodes ever have one device.

A small series; `python -m tests.survival.devices --kills 100` is the large one."""

from __future__ import annotations

from pathlib import Path

from tests.survival.devices import Rivals


def test_no_two_nodes_ever_have_one_device_however_often_runs_are_killed(tmp_path: Path) -> None:
    report = Rivals(tmp_path, nodes=45, seed=2).fight(6)
    assert report.violations == [], str(report)
    assert report.kills.total() >= 6
    assert report.begun.keys() == {"0", "1"}


def test_without_sharing_they_meet_and_it_is_told(tmp_path: Path) -> None:
    report = Rivals(tmp_path, nodes=45, seed=1, sharing=False).fight(6)
    assert any("met another node on device" in text for text in report.violations), str(report)
