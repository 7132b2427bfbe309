"""A configuration either is right or is refused with every mistake named by file, line and key."""

import itertools
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node import config
from node.config import Destination, Settings, load
from node.errors import ConfigError

HERE = Path(__file__).resolve().parents[1]
SHIPPED = HERE / "config" / "node.yaml"
DESTINATION = "destinations:\n  - {name: pacs, ae_title: PACS, host: 127.0.0.1, port: 4242}\n"


@pytest.fixture
def file(tmp_path):
    """Write a configuration and give its path."""

    def write(text):
        path = tmp_path / "node.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def complaints(file):
    """Load a configuration that is wrong and give its complaints without the file's name."""

    def load_wrong(text):
        path = file(text)
        with pytest.raises(ConfigError) as refused:
            load(path)
        lines = str(refused.value).splitlines()
        assert all(line.startswith(f"{path}:") for line in lines)
        return [line.removeprefix(f"{path}:") for line in lines]

    return load_wrong


def test_the_shipped_file_loads_and_says_the_defaults():
    settings = load(SHIPPED)
    assert settings.listen == Settings().listen
    for section in ("study", "gate", "report", "web"):
        assert getattr(settings, section) == getattr(Settings(), section)
    assert settings.destinations == (Destination(name="pacs", ae_title="ORTHANC", host="127.0.0.1", port=4242),)


def test_the_shipped_file_holds_every_key_there_is():
    shipped = yaml.safe_load(SHIPPED.read_text("utf-8"))
    assert set(shipped) == set(Settings.model_fields)
    for name, section in shipped.items():
        if name in ("mode", "notify"):  # a word, and a list that is empty
            continue
        model = Destination if name == "destinations" else Settings.model_fields[name].annotation
        keys = section[0] if name == "destinations" else section
        assert set(keys) == set(model.model_fields), name


def test_the_shipped_file_explains_every_key():
    lines = SHIPPED.read_text("utf-8").splitlines()
    for above, line in itertools.pairwise(lines):
        if re.match(r"  [a-z_]+:", line) and line != "  port: 8080":  # explained with the host above it
            assert above.lstrip().startswith("#"), line
    assert all(f"#   {key}" in "\n".join(lines) or key == "port" for key in Destination.model_fields)


def test_an_empty_file_has_all_defaults(file):
    path = file("")
    settings = load(path)
    assert settings.spool.folder == path.parent / "spool"
    assert settings.model_copy(update={"spool": Settings().spool, "model": Settings().model}) == Settings()


@pytest.mark.parametrize("text", ["# only a comment\n", "---\n", "~\n"])
def test_a_file_without_a_value_is_an_empty_file(file, text):
    assert load(file(text)).listen == Settings().listen


def test_every_mistake_is_reported_at_once_in_the_order_of_the_file(complaints):
    found = complaints(
        "listen:\n"
        "  ae_title: FAR_TOO_LONG_AN_AE_TITLE\n"
        "  prot: 104\n"
        "  port: 99999\n"
        "study:\n"
        "  settle_s: -1\n"
        "report:\n"
        "  heat_map: some\n"
        "  heat_map: none\n"
        "destinations:\n"
        "  - name: The PACS\n"
        "    ae_title: PACS\n"
        "    host: pacs.example\n"
        "colour: blue\n"
    )
    assert found == [
        "2: listen.ae_title: must be 1 to 16 printable ASCII characters without a backslash (an AE title, PS3.5 6.2)",
        "3: listen.prot: is not a key of this file. Known here: ae_title, host, port, callers, addresses,"
        " associations, associations_per_caller, tls.",
        "4: listen.port: Input should be less than or equal to 65535",
        "6: study.settle_s: Input should be greater than or equal to 0",
        "9: report.heat_map: Input should be 'all', 'flagged' or 'off'",
        "9: report.heat_map: is given twice; keep one",
        "11: destinations.0.name: must be 1 to 32 lower-case letters, digits, '-' or '_', for it names a folder too",
        "11: destinations.0.port: is missing; give it a value",
        "14: colour: is not a key of this file. Known here: mode, listen, spool, study, gate, limits, model,"
        " report, destinations, web, audit, notify.",
    ]


def test_a_missing_file_is_named_with_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: no such file. Copy config/node.yaml"):
        load(tmp_path / "absent.yaml")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read \(IsADirectoryError\)"):
        load(tmp_path)


def test_a_file_that_is_not_utf_8_is_refused(file):
    with pytest.raises(ConfigError, match="cannot be read"):
        load(file(b"listen:\n  ae_title: R\xf6ntgen\n"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("listen: [\n", 2),
        ("listen:\n  port: 1\n bad\n", 3),
        ("listen:\n\tport: 1\n", 2),
        ("listen: *nowhere\n", 1),
        ("a: 1\n---\nb: 2\n", 2),
        ("listen:\n  host: a\x00b\n", 2),
        ("listen:\n  host: !!python/object/apply:os.system [ls]\n", 2),
        ("web:\n  port: !!int many\n", 2),
        ("web:\n  host: 2024-13-45\n", 2),
        ("? [a, b]\n: c\n", 1),
        ("listen: !!map [a]\n", 1),
        ("spool: !!omap {a: b}\n", 1),
    ],
)
def test_what_is_not_yaml_is_refused_with_its_line(complaints, text, line):
    (complaint,) = complaints(text)
    assert re.match(rf"{line}: not valid YAML: .", complaint)


def test_yaml_that_nests_without_end_is_refused(complaints):
    (complaint,) = complaints("a: " + "[" * 5000 + "]" * 5000)
    assert complaint == "1: not valid YAML: it is nested too deeply"


def test_an_alias_of_something_around_it_is_refused_and_not_followed(complaints):
    assert complaints("listen: &a [*a]\n") == [
        "1: listen: must be a section of keys. Known here: ae_title, host, port, callers, addresses, associations,"
        " associations_per_caller, tls."
    ]


def test_an_alias_with_one_key_changed_is_no_doubled_key(file):
    settings = load(file("listen: &all {host: 127.0.0.1, port: 0}\nweb:\n  <<: *all\n  port: 8081\n"))
    assert (settings.listen.port, settings.web.port) == (0, 8081)


@pytest.mark.parametrize("text", ["[]\n", "0\n", "false\n", "''\n", "hello\n", "- listen\n", "3\n"])
def test_a_file_without_sections_is_refused(complaints, text):
    assert complaints(text) == ["1: the file must hold sections such as 'listen:'; see config/node.yaml"]


@pytest.mark.parametrize("value", ["", "hello", "[a]", "3"])
def test_a_section_that_is_no_mapping_is_refused(complaints, value):
    assert complaints(f"web: {value}\n") == [
        "1: web: must be a section of keys. Known here: host, port, password_file, open, url."
    ]


def test_a_destination_that_is_no_mapping_is_refused(complaints):
    (complaint,) = complaints("destinations:\n  - pacs\n")
    assert complaint.startswith("2: destinations.0: must be a section of keys. Known here: name, ae_title, host")


@pytest.mark.parametrize("text", ["destinations:\n", "listen:\n  callers: PACS\n"])
def test_what_should_be_a_list_is_said_to_be_one(complaints, text):
    (complaint,) = complaints(text)
    assert complaint.endswith("must be a list; [] is an empty one")


def test_a_key_that_yaml_reads_as_a_truth_value_keeps_its_line_and_spelling(complaints):
    assert complaints("web:\n  host: h\n  on: 1\n") == [
        "3: web.on: is not a key of this file. Known here: host, port, password_file, open, url."
    ]


def test_a_doubled_section_is_refused(complaints):
    assert complaints("web: {port: 1}\nlisten: {port: 2}\nweb: {port: 3}\n") == [
        "3: web: is given twice; keep one",
        "3: web.port: is given twice; keep one",
    ]


@pytest.mark.parametrize(
    ("written", "meant"), [("off", "off"), ("'off'", "off"), ("all", "all"), ("flagged", "flagged")]
)
def test_a_bare_off_is_the_word(file, written, meant):
    assert load(file(f"report:\n  heat_map: {written}\n")).report.heat_map == meant


def test_a_bare_on_is_no_choice(complaints):
    assert complaints("report:\n  heat_map: on\n") == ["2: report.heat_map: Input should be 'all', 'flagged' or 'off'"]


@pytest.mark.parametrize("key", ["listen.port", "web.port", "study.settle_s", "study.quiet_s", "gate.minimum_px"])
@pytest.mark.parametrize("value", ["yes", "off", "true"])
def test_a_truth_value_is_no_number(complaints, key, value):
    section, name = key.split(".")
    (complaint,) = complaints(f"{section}:\n  {name}: {value}\n")
    assert complaint == f"2: {key}: must be a number; YAML reads a bare yes, no, on or off as true or false"


@pytest.mark.parametrize("value", [".nan", ".inf", "-0.1", "3601", "soon", "[1]"])
def test_a_wait_without_an_end_is_refused(complaints, value):
    (complaint,) = complaints(f"study:\n  settle_s: {value}\n")
    assert complaint.startswith("2: study.settle_s: ")


@pytest.mark.parametrize("key", ["listen.host", "web.host", "spool.folder", "model.bundle"])
def test_an_empty_host_or_folder_is_refused(complaints, key):
    section, name = key.split(".")
    assert complaints(f"{section}:\n  {name}: ''\n") == [f"2: {key}: must not be empty"]


@pytest.mark.parametrize("title", ["A", "CXR TRIAGE", "X" * 16, "  PADDED  ", "a.b-c_d"])
def test_an_ae_title_of_the_standard_is_taken_without_its_padding(file, title):
    assert load(file(f"listen:\n  ae_title: '{title}'\n")).listen.ae_title == title.strip()


@pytest.mark.parametrize("title", ["''", "'   '", "'A\\B'", '"A\\tB"', '"A\\n"', "X" * 17, "RÖNTGEN"])
def test_what_is_no_ae_title_is_refused(complaints, title):
    for section in ("listen:\n  ae_title: {}\n", "listen:\n  callers: [{}]\n"):
        (complaint,) = complaints(section.format(title))
        assert "must be 1 to 16 printable ASCII characters" in complaint


def test_callers_are_listed_with_their_addresses(file):
    text = 'listen:\n  addresses: {PACS: [10.1.2.3, 10.1.4.7/24, "fd00::/16"], " AE 2 ": []}\n'
    assert load(file(text)).listen.addresses == {"PACS": ("10.1.2.3", "10.1.4.7/24", "fd00::/16"), "AE 2": ()}


@pytest.mark.parametrize("address", ["pacs.hospital", "10.1.2", "10.1.2.3/33", "''", "10.1.2.3:104"])
def test_what_is_no_address_is_refused(complaints, address):
    (complaint,) = complaints(f"listen:\n  addresses:\n    PACS: [10.0.0.1, {address}]\n")
    right = "must be an IP address, such as 10.1.2.3, or a network, such as 10.1.2.0/24"
    assert complaint == f"3: listen.addresses.PACS.1: {right}"


def test_what_should_be_a_list_of_addresses_by_title_is_said_to_be_one(complaints):
    (complaint,) = complaints("listen:\n  addresses: [10.1.2.3]\n")
    assert complaint == "2: listen.addresses: must be a section of keys, each with a list; {} is an empty one"
    (complaint,) = complaints("listen:\n  addresses: {'A\\B': [10.1.2.3]}\n")
    assert "must be 1 to 16 printable ASCII characters" in complaint


@pytest.mark.parametrize("key", ["associations", "associations_per_caller"])
def test_there_is_room_for_at_least_one_association(complaints, key):
    assert complaints(f"listen: {{{key}: 0}}\n") == [f"1: listen.{key}: Input should be greater than or equal to 1"]


def test_an_ae_title_of_digits_is_asked_for_in_quotes(complaints, file):
    assert complaints("listen:\n  ae_title: 1234\n") == ["2: listen.ae_title: must be text; put it in quotes"]
    assert load(file("listen:\n  ae_title: '1234'\n")).listen.ae_title == "1234"


@pytest.mark.parametrize("name", ["PACS", "a b", "../etc", "a/b", ".hidden", "-", "x" * 33, "", "a\n", "ü"])
def test_a_destination_is_named_so_that_it_may_name_a_folder(complaints, name):
    text = yaml.safe_dump({"destinations": [{"name": name, "ae_title": "A", "host": "h", "port": 1}]})
    (complaint,) = complaints(text)
    assert "must be 1 to 32 lower-case letters" in complaint


def test_two_destinations_of_one_name_are_refused(complaints):
    (complaint,) = complaints("web:\n  port: 0\n" + DESTINATION + DESTINATION.splitlines()[1] + "\n")
    assert complaint == "3: destinations: the name 'pacs' is used twice; give each destination its own"


def test_a_destination_without_a_port_to_call_is_refused(complaints):
    (complaint,) = complaints(DESTINATION.replace("4242", "0"))
    assert complaint.startswith("2: destinations.0.port: Input should be greater than or equal to 1")


def test_the_second_of_two_destinations_is_named_by_its_own_line(complaints):
    found = complaints(DESTINATION + "  - name: other\n    ae_title: A\n    host: h\n    port: 1\n    profile: best\n")
    assert found == ["7: destinations.1.profile: Input should be 'viewer' or 'air'"]


def test_relative_folders_are_taken_from_the_file_and_absolute_ones_stay(tmp_path, file, monkeypatch):
    monkeypatch.chdir("/")
    settings = load(file("spool:\n  folder: ../elsewhere\nmodel:\n  bundle: /models/one\n"))
    assert settings.spool.folder == tmp_path / "../elsewhere"
    assert settings.model.bundle == Path("/models/one")


def test_a_relative_path_to_the_file_makes_absolute_folders(tmp_path, file, monkeypatch):
    file("")
    monkeypatch.chdir(tmp_path)
    assert load(Path("node.yaml")).spool.folder == tmp_path / "spool"


def test_the_device_is_kept_where_the_bundle_is_relative(file):
    assert load(file("model:\n  device: cpu\n")).model.device == "cpu"


def test_settings_cannot_be_changed(file):
    settings = load(file(""))
    with pytest.raises(ValueError, match="frozen"):
        settings.listen.port = 1


def test_the_digest_changes_with_what_shapes_a_result_and_with_nothing_else(file):
    plain = load(file("")).digest()
    assert re.fullmatch(r"[0-9a-f]{16}", plain)
    for shaping in ("report: {language: de}", "report: {heat_map: off}", "gate: {minimum_px: 200}"):
        assert load(file(shaping)).digest() != plain
    for other in ("listen: {port: 1}", "study: {settle_s: 9}", "spool: {folder: /x}", "web: {port: 9}", DESTINATION):
        assert load(file(other)).digest() == plain


YAML_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)
KEYS = [name for section in (Settings, config.Listen, Destination, config.Report) for name in section.model_fields]


def test_a_key_of_control_characters_does_not_break_the_message(complaints):
    (complaint,) = complaints('"a\\nb\\e[31m": 1\n')
    assert complaint.startswith(r"1: 'a\nb\x1b[31m': is not a key of this file.")


def refusal(path):
    """What is said against a file, nothing where it is right."""
    try:
        load(path)
    except ConfigError as error:
        return str(error)
    return ""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=6), YAML_VALUES, max_size=4))
def test_whatever_the_file_holds_it_is_loaded_or_refused_line_by_line(file, values):
    path = file(yaml.safe_dump(values, allow_unicode=True))
    assert all(line.startswith(f"{path}:") for line in refusal(path).splitlines())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@?,\n\t 01~<.", max_size=40))
def test_whatever_text_the_file_holds_it_is_loaded_or_refused_line_by_line(file, text):
    path = file(text)
    assert all(line.startswith(f"{path}:") for line in refusal(path).splitlines())


def test_every_key_of_a_section_that_names_a_folder_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "node.yaml"
    file.write_text("spool: {folder: here, reserve_mb: 7, keep_days: 0, keep_gb: 3, quarantine_mb: 5}\n")
    kept = load(file).spool
    assert kept.folder == tmp_path / "here"
    assert (kept.reserve_mb, kept.keep_days, kept.keep_gb, kept.quarantine_mb) == (7, 0, 3, 5)
