"""The dashboard asks for metrics that the node has, by labels and label values that they have."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.config import Settings
from node.web.metrics import Metrics
from tests.filled import FilledSpool, role, settings_for
from tests.test_operation import metrics

BOARD = json.loads((Path(__file__).resolve().parents[1] / "docs" / "grafana.json").read_text("utf-8"))
PANELS = {panel["title"]: panel for panel in BOARD["panels"]}


def expressions() -> list[str]:
    return [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]


def names(text: str) -> set[str]:
    return set(re.findall(r"\bcxr_node_\w+", text))


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    asked = set().union(*map(names, expressions()))
    assert len(asked) > 10
    assert asked <= metrics()
    assert names(json.dumps(BOARD["templating"])) <= metrics()


@pytest.fixture
def told(tmp_path: Path) -> str:
    settings: Settings = settings_for(tmp_path)
    FilledSpool(settings.spool.folder).delivered()
    door = {"pending": 0, "established": 0, "cut": {"too slow": 1}, "rejected": {}, "violations": {}, "evicted": 0}
    tally = {"refused": {"0xC210": 1}, "forgotten": 0}
    with role(settings.spool.folder, "receive", port=1, door=door, tally=tally):
        return Metrics(settings).text().decode()


def _asked() -> Iterator[tuple[str, str, str]]:
    """Yield (metric, label, value that is asked for) of every selector."""
    for expression in expressions():
        for metric, selector in re.findall(r"(cxr_node_\w+)\{([^}]*)\}", expression):
            for label, operator, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', selector):
                if label != "instance" and operator != "=~":
                    yield metric, label, value


def test_labels_and_values_that_are_asked_for_are_those_that_are_told(told: str) -> None:
    asked = list(_asked())
    assert len(asked) >= 4
    for metric, label, value in asked:
        assert re.search(rf'^{metric}{{[^}}]*{label}="{value}"', told, re.MULTILINE), (metric, label, value)


def test_labels_in_legends_are_those_of_their_metrics(told: str) -> None:
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            (metric, *_) = re.findall(r"cxr_node_\w+", target["expr"])
            if samples := re.findall(rf"^{metric}{{(.*)}} ", told, re.MULTILINE):
                assert labels <= set(re.findall(r'(\w+)="', samples[0])), panel["title"]
            else:
                assert metric == "cxr_node_certificate_days_left" or not labels, panel["title"]


def test_every_panel_says_what_it_shows_and_lies_beside_the_others() -> None:
    taken: set[tuple[int, int]] = set()
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"]) == len(PANELS)
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert panel["description"] and panel["datasource"]["uid"] == "${datasource}"
        assert not cells & taken and max(x for x, _ in cells) < 24
        taken |= cells
