"""Writes docs/conformance.md, the DICOM Conformance Statement, from the code: ``make docs``.

What a table says is taken from the settings of the running node, and from objects that it really made of invented
studies; the words around it are here. A test compares the file with what this makes, with what a running node accepts
and proposes, and with objects of other studies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.datadict import dictionary_description
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    UID,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from node import __version__, association, codes, deliver, dimse, journey, requestor
from node.config import Listen
from node.door import verdict
from node.door.limits import Limits
from node.errors import CannotUnderstand, DataSetMismatch, OutOfResources
from node.product import IMPLEMENTATION_CLASS_UID, MANUFACTURER, NAME, PRIVATE_SCHEME
from node.receive import SOPClassNotSupported, _contexts
from node.report import EXTRAS, compose
from node.report.capture import SERIES_NUMBER
from node.report.document import AI_RESULTS, BOX, KEY_OBJECT, PDF, TRIAGE_REPORT
from node.report.encode import _WITH_EXTENSIONS, _WITHOUT_EXTENSIONS
from node.report.identity import _ALWAYS, _WHERE_PRESENT
from node.storage_classes import STORAGE_CLASSES, TRANSFER_SYNTAXES, is_image
from node.tls.contexts import CIPHERS
from tests.films import dx_film
from tests.readings import OPTIONS, URGENT, source, studies

FILE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
LIMITS = Limits()
ALWAYS, SOMETIMES = "always", "where it applies"
CONFIGURED = "SCU, where `report.extra` asks for it"
# Of values that are alike in all invented studies, these say of what kind the product is, not of what study it was.
_OF_THE_PRODUCT = {"CS", "LO", "LT", "IS", "US"}
_OF_THE_SETTINGS = {"StationName": "AE title of the node", "DeviceSerialNumber": "AE title of the node"}
_MADE = {
    "UI": "made by the node",
    "DA": "when the reading began",
    "TM": "when the reading began",
    "SQ": "made by the node",
    "OB": "the picture, or the PDF",
    "OW": "the picture",
}
_ANSWER = {
    "DocumentTitle": "the answer",
    "EncapsulatedDocumentLength": "of the PDF",
    "SeriesDescription": "the answer in short",
    "DerivationDescription": "model and weights",
    "Rows": "of the picture",
    "Columns": "of the picture",
    "PatientOrientation": "of the film",
    "BodyPartExamined": "of the film",
}


def statement() -> str:
    """Return the whole document."""
    parts = (_overview, _introduction, _model, _networking, _acceptor, _initiator, _media, _characters, _security)
    annexes = (_objects, _content, _private, _classes, _syntaxes)
    return "\n".join([*(line for part in (*parts, *annexes) for line in part()), ""])


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(str(cell) for cell in row)} |"
    yield ""


def _name(uid: str) -> str:
    return str(UID(uid).name)


def _overview() -> Iterator[str]:
    yield from (
        f"# DICOM Conformance Statement: {NAME} {__version__}",
        "",
        "<!-- Written by tests/tools/make_conformance.py (make docs); change that, not this file. -->",
        "",
        f"Of {MANUFACTURER}. Research and education only, not for diagnosis.",
        "",
        "## 1 Overview",
        "",
        f"{NAME} receives studies by C-STORE, reads chest radiographs with a trained network, and stores a Structured",
        "Report and Secondary Capture pictures into the same study at one or more destinations. The order of this",
        "statement follows the template of DICOM PS3.2.",
        "",
    )
    rows = [("Verification", _name(Verification), "yes", "yes")]
    rows += [("Storage", f"all {len(STORAGE_CLASSES)} of Annex D", "no", "yes")]
    rows += [("Storage", _name(uid), "yes", "yes") for uid in sorted(written(), key=_name)]
    rows += [("Storage Commitment", _name(StorageCommitmentPushModel), "yes", "no")]
    yield from _table(("Service", "SOP class", "SCU", "SCP"), rows)
    yield from (
        "Not supported: Query/Retrieve, Modality Worklist, MPPS, Instance Availability Notification, DICOMweb, and media.",
        "",
    )


def _introduction() -> Iterator[str]:
    yield from (
        "## 2 Introduction",
        "",
        "For those who connect the node to a PACS. This statement does not replace a trial with the PACS at hand:",
        "`cxr-node doctor` makes one. Terms are those of DICOM PS3.3 to PS3.8 and PS3.15; SCU, SCP, SOP, AE and IOD are",
        "used as there. The model's own limits are in its card (`models/*/card.md`).",
        "",
    )


def _model() -> Iterator[str]:
    yield from (
        "## 3 Implementation model",
        "",
        "```",
        "modality, PACS --C-STORE--> [ receiver ] --spool--> [ worker ] --C-STORE--> PACS, viewer",
        "                                 ^                                             |",
        "                                 +------- N-EVENT-REPORT (commitment) ---------+",
        "```",
        "",
        f"There is one Application Entity, whose AE title is configured (`listen.ae_title`, {Listen().ae_title} by default).",
        "It accepts associations in one process, the receiver, and requests them in another, the worker. Real-world",
        "activities:",
        "",
        "- **Receive.** Instances are stored; 0x0000 is answered once an instance would outlast a power cut.",
        "- **Read.** A study is complete some seconds after the association that brought it was released (`study`).",
        "- **Deliver.** Results are stored at each destination, and commitment is requested where it is configured.",
        "",
    )


def _networking() -> Iterator[str]:
    yield from ("## 4 Networking", "", "### 4.1 General", "")
    rows = [
        ("Application context", "1.2.840.10008.3.1.1.1"),
        ("Implementation Class UID", IMPLEMENTATION_CLASS_UID),
        ("Implementation Version Name", "not sent"),
        ("Asynchronous operations window", "not negotiated: one operation at a time"),
        ("SOP class extended negotiation", "not supported; ignored where it is proposed"),
        ("User identity negotiation", "not supported; ignored where it is proposed"),
        ("Network", "TCP/IP, IPv4 and IPv6"),
    ]
    yield from _table(("Parameter", "Value"), rows)


def _acceptor() -> Iterator[str]:
    yield from ("### 4.2 As acceptor", "")
    yield from _accepted_contexts()
    yield from _acceptor_policies()
    yield from _storage_scp()
    yield from (
        "#### 4.2.4 Storage Commitment: N-EVENT-REPORT",
        "",
        "The report of a destination is taken on any association on which the context was accepted, also one that the",
        "destination opens: Event Type 1 (all committed) and 2 (failures exist). Answers: "
        f"0x0000; 0x{dimse.NO_SUCH_EVENT_TYPE:04X}, no such event type; 0x{dimse.INVALID_ARGUMENT_VALUE:04X}, invalid argument "
        "value.",
        "",
    )


def _accepted_contexts() -> Iterator[str]:
    yield from ("#### 4.2.1 Presentation contexts", "")
    rows = []
    for uid, syntaxes in accepted().items():
        if uid not in STORAGE_CLASSES:
            names = ", ".join(_name(syntax) for syntax in syntaxes)
            role = "SCU, and SCP by role selection" if uid == StorageCommitmentPushModel else "SCP"
            rows.append((_name(uid), uid, names, role))
    rows.append(("every Storage SOP class of Annex D", "", "every transfer syntax of Annex E", "SCP"))
    yield from _table(("Abstract syntax", "UID", "Transfer syntaxes", "Role of the node"), rows)
    yield from (
        "Of several transfer syntaxes in one presentation context, the node accepts the first in its own order, which is that of",
        "the table above and of Annex E, whatever the order of the requestor. A sender that wants to keep an encoding proposes",
        "it in a context of its own. Instances are stored as they come; nothing is converted.",
        "",
    )


def _acceptor_policies() -> Iterator[str]:
    yield from ("#### 4.2.2 Association policies", "")
    listen = Listen()
    rows = [
        (
            "Associations at once",
            f"{listen.associations} (`listen.associations`); one in eight kept for configured titles",
        ),
        ("Of one caller", f"{listen.associations_per_caller} (`listen.associations_per_caller`)"),
        ("Connections without an association yet", f"{LIMITS.arrivals}, {LIMITS.arrivals_per_address} of one address"),
        ("Maximum PDU length received", f"{LIMITS.pdu_bytes} bytes"),
        ("A-ASSOCIATE-RQ", f"whole within {LIMITS.request_s:.0f} s, at most {LIMITS.request_bytes} bytes"),
        ("Wait for a free place", f"{LIMITS.place_s:.0f} s, then rejected for now"),
        (
            "Silence on an association",
            f"{LIMITS.silence_s:.0f} s, then A-ABORT; {LIMITS.idle_s:.0f} s where places are short",
        ),
        ("Least rate within a message", f"{LIMITS.rate_bytes_s} bytes/s over {LIMITS.rate_window_s:.0f} s"),
        ("ARTIM", f"{LIMITS.linger_s:.0f} s"),
        ("Largest data set", f"{LIMITS.object_bytes} bytes; a larger one is read to its end and refused"),
    ]
    yield from _table(("Policy", "Value"), rows)
    yield from ("Rejections (PS3.8 Table 9-21):", "")
    found = [value for value in vars(verdict).values() if isinstance(value, verdict.Rejection)]
    rows = [(each.reason, each.result, each.source, each.diagnostic) for each in found]
    yield from _table(("Reason", "Result", "Source", "Reason/Diag."), rows)
    yield from (
        "Calling AE titles are checked against `listen.callers`, and their addresses against `listen.addresses`, where these",
        "are configured. The called AE title must be the node's.",
        "",
    )


def _storage_scp() -> Iterator[str]:
    yield from (
        "#### 4.2.3 Storage SCP",
        "",
        "Level 2 (Full) in the sense of PS3.4 B.4.1: every attribute is kept, private ones included. Statuses:",
        "",
    )
    rows = [("0x0000", "Success", "the instance is durable; also where the same instance is there already")]
    rows += [
        (
            f"0x{OutOfResources.status:04X}",
            "Refused: out of resources",
            "no room, a data set that is too large, or no time to compare it with what is held; send later",
        ),
        (
            f"0x{DataSetMismatch.status:04X}",
            "Error: data set does not match",
            "not the instance that the command announced",
        ),
        (
            f"0x{CannotUnderstand.status:04X}",
            "Error: cannot understand",
            "malformed, or the SOP Instance UID is held with other content",
        ),
        (f"0x{SOPClassNotSupported.status:04X}", "Refused: SOP class not supported", "not of its presentation context"),
    ]
    yield from _table(("Status", "Meaning", "When"), rows)
    images = sum(is_image(uid) for uid in STORAGE_CLASSES)
    yield from (
        f"{images} of the SOP classes carry images; what of them the model may read is decided by the header. Results of this",
        "node that come back with a study are stored and not read.",
        "",
    )


def _initiator() -> Iterator[str]:
    yield from ("### 4.3 As requestor", "")
    yield from _proposed_contexts()
    yield from _requestor_policies()
    yield from _storage_scu()
    yield from _commitment_scu()


def _proposed_contexts() -> Iterator[str]:
    yield from ("#### 4.3.1 Presentation contexts", "")
    yield from ("Each transfer syntax is proposed in a presentation context of its own.", "")
    always = {str(context.abstract_syntax) for context in deliver._proposed_contexts()}
    rows = [
        (_name(uid), uid, ", ".join(map(_name, syntaxes)), "SCU" if uid in always else CONFIGURED)
        for uid, syntaxes in proposed().items()
    ]
    yield from _table(("Abstract syntax", "UID", "Transfer syntaxes", "Role"), rows)


def _requestor_policies() -> Iterator[str]:
    yield from ("#### 4.3.2 Association policies", "")
    rows = [
        ("When", "results are to be delivered, or a person asks (`cxr-node echo`, `send`, `check`, `doctor`)"),
        ("Associations at once", "one for each destination"),
        ("Kept while idle", f"{deliver.IDLE_S:.0f} s, then released"),
        ("Maximum PDU length received", f"{requestor.RequestorAE().maximum_pdu_size} bytes"),
        ("Connection", f"{association.CONNECTION_TIMEOUT_S:.0f} s"),
        ("Answer to an A-ASSOCIATE-RQ", f"{association.ACSE_TIMEOUT_S:.0f} s"),
        ("Answer to a DIMSE request", f"{association.DIMSE_TIMEOUT_S:.0f} s after its last byte"),
        ("A PDU under way", f"{requestor.PDU_TIMEOUT_S:.0f} s without progress"),
        ("Answer to an A-RELEASE-RQ", f"{association.RELEASE_TIMEOUT_S:.0f} s, then the connection is left to close"),
        (
            "Attempts",
            f"after {deliver.FIRST_BACKOFF_S:.0f} s, doubling up to {deliver.LONGEST_BACKOFF_S / 60:.0f} min, for "
            f"{deliver.GIVE_UP_AFTER_S / 3600:.0f} h of waiting",
        ),
    ]
    yield from _table(("Policy", "Value"), rows)


def _storage_scu() -> Iterator[str]:
    yield from (
        "#### 4.3.3 Storage SCU",
        "",
        "A report exists in several SOP classes with the same text, in the order of preference below; the first that the",
        "destination accepts is sent, the others are not. Where it answers that it does not support the SOP class, the next",
        "is sent.",
        "",
    )
    rows = [
        ("`viewer`", "triage report", " > ".join(_name(uid) for uid in TRIAGE_REPORT.sop_class_uids)),
        ("`air`", "AI Results", " > ".join(_name(uid) for uid in AI_RESULTS.sop_class_uids)),
        ("both", "picture", _name(SecondaryCaptureImageStorage)),
        ("both", "attention box (`report.extra`)", _name(ComprehensiveSRStorage)),
        ("both", "key objects (`report.extra`)", _name(KeyObjectSelectionDocumentStorage)),
        ("both", "report as PDF (`report.extra`)", _name(EncapsulatedPDFStorage)),
    ]
    yield from _table(("Profile", "Result", "SOP classes by preference"), rows)
    yield from ("A destination that takes one of the results of `report.extra` in no form is sent all others.", "")
    yield from ("What follows from a status:", "")
    yield from _table(("Status", "Meaning", "The node"), _statuses(dimse._PERFORMED + dimse._C_STORE + dimse._GENERAL))
    yield from ("Other warnings (0xBxxx) count as delivered; other failures are tried again.", "")


def _commitment_scu() -> Iterator[str]:
    asked = journey.ASK_AGAIN_AFTER
    yield from (
        "#### 4.3.4 Storage Commitment SCU",
        "",
        "Where `commitment` is configured for a destination, N-ACTION (Action Type 1) requests it for the results of a study",
        f"once all are stored, with a new Transaction UID each time. After {asked} looks for the report, about an hour, it is",
        f"requested again; waits count towards the {deliver.GIVE_UP_AFTER_S / 3600:.0f} h above, then a person is asked. Failure",
        "reasons (PS3.3 C.14.1.1):",
        "",
    )
    yield from _table(("Failure reason", "Meaning", "The node"), _statuses(dimse._FAILURE_REASON))


def _statuses(table: Sequence[tuple[int, int, str, dimse.Outcome]]) -> Iterator[tuple[str, str, str]]:
    words = {
        dimse.Outcome.DELIVERED: "counts it as delivered",
        dimse.Outcome.TRY_AGAIN: "tries again",
        dimse.Outcome.PARKED: "parks it for a person",
    }
    for first, last, name, outcome in table:
        does = words[outcome]
        if table is not dimse._FAILURE_REASON and dimse.refuses_sop_class(first):
            does = "sends the next form of the result; where there is none, parks it for a person"
        yield (f"0x{first:04X}" if first == last else f"0x{first:04X} to 0x{last:04X}", name, does)


def _media() -> Iterator[str]:
    yield from ("## 5 Media interchange", "", "None: no Application Profile of PS3.11 is supported.", "")


def _characters() -> Iterator[str]:
    terms = sorted(_WITHOUT_EXTENSIONS) + sorted(_WITH_EXTENSIONS)
    yield from (
        "## 6 Character sets",
        "",
        "Instances are stored whatever their Specific Character Set. Results keep that of the source wherever their own text",
        "fits in, else they are ISO_IR 192 (UTF-8); the patient's attributes are taken over as bytes, and only decoded where",
        "that is certain. Defined terms that a result may have:",
        "",
        ", ".join(terms),
        "",
    )


def _security() -> Iterator[str]:
    yield from (
        "## 7 Security",
        "",
        "- **Transport.** DICOM over TLS, both ways, where it is configured (`listen.tls`, `destinations.tls`): TLS 1.2 and",
        "  1.3, PS3.15 B.12 (BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile). Cipher suites of TLS 1.2, as",
        f"  OpenSSL names them: `{CIPHERS}`. Callers must show a certificate unless `client_certificate` is false; that of a",
        "  destination must be for its name unless `check_name` is false. Without the section, connections are in the clear.",
        "- **Access.** AE titles and addresses of callers, as configured. They prove nothing without TLS.",
        "- **Audit.** Records in the form of PS3.15 A.5, to a file or a syslog receiver, where it is configured (`audit`).",
        "- **Other profiles** of PS3.15 (user identity, digital signatures, de-identification) are not supported.",
        "- **Data at rest** is readable by the service's user alone, and not encrypted by the node.",
        "",
    )


def _objects() -> Iterator[str]:
    yield from (
        "## Annex A: Created SOP instances",
        "",
        "Attributes of the data set's first level. *Always*: present in each object of this kind, though it may be empty where",
        "the source has no value. *Where it applies*: present in some. A value in quotes is the same in all.",
        "",
        "### A.1 Structured reports",
        "",
        "Basic Text SR, Enhanced SR, Comprehensive SR and Comprehensive 3D SR Storage; Series Number "
        f"{TRIAGE_REPORT.series_number} (triage report), {AI_RESULTS.series_number} (AI Results) or {BOX.series_number} "
        "(attention box).",
        "",
    )
    others = (SecondaryCaptureImageStorage, KeyObjectSelectionDocumentStorage, EncapsulatedPDFStorage)
    yield from _attributes([each for each in created() if each.SOPClassUID not in others])
    yield from ("### A.2 Secondary Capture", "", f"Series Number {SERIES_NUMBER}, a series for each picture.", "")
    yield from _attributes([each for each in created() if each.SOPClassUID == SecondaryCaptureImageStorage])
    yield from ("### A.3 Key Object Selection Document", "", f"Series Number {KEY_OBJECT.series_number}.", "")
    yield from _attributes([each for each in created() if each.SOPClassUID == KeyObjectSelectionDocumentStorage])
    yield from ("### A.4 Encapsulated PDF", "", f"Series Number {PDF.series_number}.", "")
    yield from _attributes([each for each in created() if each.SOPClassUID == EncapsulatedPDFStorage])


def _attributes(objects: Sequence[Dataset]) -> Iterator[str]:
    tags = sorted({element.tag for each in objects for element in each})
    rows = []
    for tag in tags:
        held = [each[tag] for each in objects if tag in each]
        presence = ALWAYS if len(held) == len(objects) else SOMETIMES
        rows.append((dictionary_description(tag), tag, held[0].VR, presence, _origin(objects, held)))
    yield from _table(("Attribute", "Tag", "VR", "Present", "Value"), rows)


def _origin(objects: Sequence[Dataset], held: Sequence[object]) -> str:
    """Say where the values of an attribute come from."""
    first = held[0]
    keyword, vr = first.keyword, first.VR  # type: ignore[attr-defined]
    if keyword in (*_ALWAYS, *_WHERE_PRESENT):
        return "of the source"
    if keyword in ("SpecificCharacterSet", "TimezoneOffsetFromUTC"):
        return "of the source"
    if keyword in _OF_THE_SETTINGS | _ANSWER:
        return (_OF_THE_SETTINGS | _ANSWER)[keyword]
    if keyword == "SOPClassUID":
        return "as listed in 4.3.3"
    values = {shown(each.value) for each in held}  # type: ignore[attr-defined]
    if values <= {"", "None"}:
        return "empty"
    if vr in _OF_THE_PRODUCT and len(values) == 1:
        return f'"{next(iter(values))}"' if next(iter(values)) not in ("", "None") else "empty"
    return _MADE.get(vr, "made by the node")


def shown(value: object) -> str:
    """Return a value as a table shows it."""
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)


def _content() -> Iterator[str]:
    yield from (
        "## Annex B: Content of the reports",
        "",
        "The triage report is TID 2000 (Basic Diagnostic Imaging Report), the AI Results TID 1500 (Measurement Report) as in the",
        "IHE Radiology supplement AI Results, not tested by IHE, the attention box TID 1500 with TID 1410 alone, the key objects",
        "TID 2010. Concept names in use; Basic Text SR holds codes and numbers as text:",
        "",
    )
    found: dict[tuple[str, str, str, str], set[str]] = {}
    for report in (each for each in created() if "ContentSequence" in each):
        template = report.ContentTemplateSequence[0].TemplateIdentifier
        for item in (report, *_items(report)):
            name = item.ConceptNameCodeSequence[0]
            code = name.get("CodeValue") or name.get("LongCodeValue") or name.get("URNCodeValue")
            key = (str(code), str(name.CodingSchemeDesignator), str(name.CodeMeaning), str(item.ValueType))
            found.setdefault(key, set()).add(f"TID {template}")
    rows = [
        (code, scheme, meaning, kind, ", ".join(sorted(where)))
        for (code, scheme, meaning, kind), where in found.items()
    ]
    rows.sort(key=lambda row: (row[1], row[0], row[3]))
    yield from _table(("Code", "Scheme", "Meaning", "Value type", "In"), rows)


def _items(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        if "ConceptNameCodeSequence" in child:
            yield child
        yield from _items(child)


def _private() -> Iterator[str]:
    private = [each for dataset in created() for each in dataset.iterall() if each.tag.is_private]
    assert not private, "the annex says that there are none"
    yield from (
        "## Annex C: Private attributes and codes",
        "",
        "The node writes no private attributes. Those of instances it receives are kept in the spool and enter no result. Codes",
        f"of its private coding scheme, {PRIVATE_SCHEME}:",
        "",
    )
    yield from _table(("Code", "Meaning"), [(each.value, each.meaning) for each in codes.private_codes()])


def _classes() -> Iterator[str]:
    yield from ("## Annex D: Storage SOP classes accepted", "")
    yield from _table(("SOP class", "UID"), [(name, uid) for uid, name in STORAGE_CLASSES.items()])


def _syntaxes() -> Iterator[str]:
    yield from (
        "## Annex E: Transfer syntaxes accepted for storage",
        "",
        "Accepted and stored; what the model can decode of them is fewer, and the rest is reported as not analysed.",
        "",
    )
    yield from _table(("Transfer syntax", "UID"), [(_name(uid), uid) for uid in TRANSFER_SYNTAXES])


def accepted() -> dict[str, tuple[str, ...]]:
    """Return the transfer syntaxes by abstract syntax that the receiver is set to accept."""
    return {str(each.abstract_syntax): tuple(map(str, each.transfer_syntax)) for each in _contexts()}


def proposed() -> dict[str, tuple[str, ...]]:
    """Return the transfer syntaxes by abstract syntax that the worker proposes."""
    found: dict[str, tuple[str, ...]] = {}
    for context in deliver._proposed_contexts(tuple(deliver.EXTRA_SOP_CLASSES)):
        uid = str(context.abstract_syntax)
        found[uid] = (*found.get(uid, ()), *map(str, context.transfer_syntax))
    return found


def written() -> set[str]:
    """Return the SOP classes of the objects that the node makes."""
    kinds = (TRIAGE_REPORT, AI_RESULTS, BOX, KEY_OBJECT, PDF)
    return {SecondaryCaptureImageStorage, *(uid for kind in kinds for uid in kind.sop_class_uids)}


@cache
def created() -> tuple[Dataset, ...]:
    """Return objects of every kind that the node makes, of invented studies, as a receiver reads them."""
    without = replace(OPTIONS, heat_map="off")
    results = [
        *compose(source(*studies()["urgent"]), replace(OPTIONS, extra=EXTRAS), "viewer"),
        *compose(source(*studies()["normal"]), without, "viewer"),
        *compose(source(*studies()["warned"]), without, "viewer"),
        *compose(source(*studies()["not analysed"]), without, "viewer"),
        *compose(source(*studies()["warned"]), without, "air"),
        *compose(source(*studies()["not analysed"]), without, "air"),
    ]
    previous = dcmread(BytesIO(results[0].encodings[0].data))
    results += compose(source(*studies()["pair"], previous=previous), without, "viewer")
    optional = (*_WHERE_PRESENT, "Manufacturer", "BodyPartExamined")
    bare = dx_film()
    for keyword in optional:
        bare.pop(keyword, None)
    results += compose(source((bare, URGENT)), replace(OPTIONS, extra=EXTRAS), "viewer")
    full = {"PatientSize": "1.7", "PatientWeight": "70", "TimezoneOffsetFromUTC": "+0100"}
    film = dx_film(SpecificCharacterSet="ISO_IR 100", **full)
    results += compose(source((film, URGENT)), replace(OPTIONS, extra=EXTRAS), "air")
    return tuple(dcmread(BytesIO(each.data)) for result in results for each in result.encodings)


if __name__ == "__main__":
    FILE.write_text(statement(), "utf-8")
