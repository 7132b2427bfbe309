"""Results: a reading of a study becomes the objects that go back into it.

``compose`` is the one entry, or ``Writer``, where the report is not to wait for the pictures. A study gets a triage report that every viewer can show (``triage``), or AI Results for
machines (``ai_results``), and a picture of each film (``picture``, ``capture``); where it is wanted, also regions on the
film (``box``), a selection of the flagged images (``key_object``) and a PDF (``encapsulated``). All carry the source's identity
(``identity``) and one moment in time (``header``). What comes again in other results is written once (``draft``); each is
read back where a character set could have changed it (``encode``), and taken apart and looked through before it leaves
(``read_back``, ``check``). ``page`` shows them to people without a viewer.
"""

from node.report.compose import Writer, compose
from node.report.rehearsal import rehearse
from node.report.source import EXTRAS, REPORTS, Encoded, Profile, ReportOptions, ResultObject, StudySource

__all__ = [
    "EXTRAS",
    "REPORTS",
    "Encoded",
    "Profile",
    "ReportOptions",
    "ResultObject",
    "StudySource",
    "Writer",
    "compose",
    "rehearse",
]
