"""Those who are told: messages about studies and faults, on their way by webhook, e-mail or HL7.

`faults` looks at what the status page shows and notes what began to be wrong; `postman` sends what is noted (`node.notices`)
and tries again what could not be sent; `webhook`, `mail` and `oru` are the three ways.
"""

from node.notify.postman import Postman, check, send, told_by
from node.notify.way import NotSent

__all__ = ["NotSent", "Postman", "check", "send", "told_by"]
