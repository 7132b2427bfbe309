"""A message as an e-mail, handed to a configured mail server."""

from __future__ import annotations

import smtplib
from datetime import datetime
from email.message import EmailMessage

from node import log, syslog
from node.config_notify import Email
from node.notices import Form
from node.notify.way import TIMEOUT_S, NotSent, context, secret, why
from node.notify.words import body, subject

_SECTION = "notify.email"


class MailWay:
    """Hands messages to one mail server.

    Parameters
    ----------
    email : Email
    """

    def __init__(self, email: Email) -> None:
        self._email = email

    def check(self) -> None:
        """Look at its files.

        Raises
        ------
        ConfigError
            When the password or the authorities cannot be used.
        """
        if self._email.password_file:
            secret(f"{_SECTION}.password_file", self._email.password_file)
        if self._email.security != "off":
            context(_SECTION, self._email.trusted)

    def send(self, message: Form) -> None:
        """Hand over a message; it counts as taken where the server takes it for anybody.

        Raises
        ------
        NotSent, ConfigError
        """
        email = self._email
        try:
            with self._connected() as server:
                if email.password_file:
                    server.login(email.user, secret(f"{_SECTION}.password_file", email.password_file))
                refused = server.send_message(self._mail(message), email.sender, email.recipients)
        except smtplib.SMTPResponseException as error:
            raise NotSent(f"{email.host} answered {error.smtp_code} ({type(error).__name__})") from None
        except (smtplib.SMTPException, OSError) as error:
            raise NotSent(f"{email.host} did not take it: {why(error)}") from None
        if refused:
            log.alarm("notice.refused", count=len(refused), host=email.host)

    def _connected(self) -> smtplib.SMTP:
        email, name = self._email, syslog.host_name().strip("-") or "localhost"
        if email.security == "tls":
            trusting = context(_SECTION, email.trusted)
            return smtplib.SMTP_SSL(email.host, email.port, local_hostname=name, timeout=TIMEOUT_S, context=trusting)
        server = smtplib.SMTP(email.host, email.port, local_hostname=name, timeout=TIMEOUT_S)
        if email.security == "starttls":
            try:
                server.starttls(context=context(_SECTION, email.trusted))
            except (smtplib.SMTPException, OSError):
                server.close()
                raise
        return server

    def _mail(self, message: Form) -> EmailMessage:
        mail = EmailMessage()
        mail["From"], mail["To"] = self._email.sender, ", ".join(self._email.recipients)
        mail["Subject"] = subject(message)
        mail["Date"] = datetime.fromisoformat(message["at"])
        # The same at each attempt, so that a mail server may know a repeated one.
        mail["Message-ID"] = f"<{message['id']}@{self._email.sender.rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notice answers it
        mail.set_content(body(message))
        return mail
