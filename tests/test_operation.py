"""The administrator's handbook names every alarm and every metric that the code has, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
HANDBOOK = (ROOT / "docs" / "operation.md").read_text("utf-8")
# What logs at level warning or above; `say` stands for one of two.
ALARMS = {"alarm", "repeated", "Outlived", "warning", "_say", "say"}
EVENT = re.compile(r"[a-z_]+\.[a-z_]+")
FAMILIES = {"GaugeMetricFamily": "", "CounterMetricFamily": "_total", "_gauge": ""}


def _section(title: str) -> str:
    return HANDBOOK.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@cache
def _calls() -> tuple[tuple[str, ast.Call], ...]:
    return tuple(_all_calls())


def _all_calls() -> Iterator[tuple[str, ast.Call]]:
    for path in (ROOT / "node").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(call, ast.Call):
                yield getattr(call.func, "id", getattr(call.func, "attr", "")), call


def _words(arguments: list[ast.expr]) -> Iterator[str]:
    for argument in arguments:
        for part in ast.walk(argument):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value


def alarms() -> set[str]:
    return {
        word for name, call in _calls() if name in ALARMS for word in _words(call.args[:2]) if EVENT.fullmatch(word)
    }


def metrics() -> set[str]:
    found = set()
    for name, call in _calls():
        if name in FAMILIES and call.args and isinstance(call.args[0], ast.Constant):
            found.add(f"cxr_node_{str(call.args[0].value).removeprefix('cxr_node_')}{FAMILIES[name]}")
    return found


def test_every_alarm_of_the_code_is_in_the_handbook_and_no_other() -> None:
    assert {"task.parked", "disk.full", "certificate.expired", "door.failed", "library.logged"} <= alarms()
    assert set(re.findall(r"^\| `([a-z_.]+)` \| [^|]+ \| [^|]+ \|$", _section("Alarms"), re.MULTILINE)) == alarms()


def test_every_metric_of_the_code_is_in_the_handbook_and_no_other() -> None:
    assert {"cxr_node_info", "cxr_node_turned_away_total", "cxr_node_tasks"} <= metrics()
    assert set(re.findall(r"^\| `(cxr_node_\w+)` \|", HANDBOOK, re.MULTILINE)) == metrics()
    assert set(re.findall(r"\bcxr_node_\w+", HANDBOOK)) == metrics()


def test_the_alerts_shown_are_rules() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", HANDBOOK, re.DOTALL)
    rules = yaml.safe_load(block)["groups"][0]["rules"]
    assert len(rules) >= 5
    assert all(rule["alert"] and "cxr_node_" in rule["expr"] for rule in rules)


def test_the_keys_of_the_configuration_that_the_handbook_names_exist() -> None:
    from node.config import Settings

    named = {tuple(key.split(".")) for key in re.findall(r"`([a-z]+\.[a-z_]+)(?::[^`]*)?`", HANDBOOK)}
    named -= {tuple(each.split(".")) for each in alarms()}
    keys = {(section, key) for section, key in named if section in Settings.model_fields and section != "destinations"}
    assert len(keys) > 10
    for section, key in keys:
        assert key in Settings.model_fields[section].annotation.model_fields, f"{section}.{key}"  # type: ignore[union-attr]
