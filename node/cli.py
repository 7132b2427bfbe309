"""The operator's desk: ``cxr-node serve | demo | check | doctor | calibrate | send | status | retry | quarantine`` and more."""

from __future__ import annotations

import json
import os
import pwd
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from node import __version__
from node.config import Destination, Settings, load
from node.errors import ConfigError, DeliveryError, NodeError

# Everything else is imported by the verb that needs it: the listener must answer within two seconds of start.

DEFAULT_CONFIG = Path("config/node.yaml")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A DICOM node that reads chest radiographs and returns a report and a heat map into the same study. "
    "Research and education only, not for diagnosis.",
)
Config = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]


class Role(StrEnum):
    """What of the node a process runs."""

    ALL = "all"
    RECEIVE = "receive"
    WORK = "work"
    WEB = "web"


def main() -> None:
    """Run a verb; a mistake ends with a message that says who must do what, and exit status 1."""
    try:
        app()
    except NodeError as error:
        typer.secho(f"cxr-node: {error}", err=True, fg=typer.colors.RED)
        raise SystemExit(1) from None


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        typer.echo(f"cxr-node {__version__}")
        raise typer.Exit


@app.command()
def serve(
    config: Config = DEFAULT_CONFIG,
    role: Annotated[Role, typer.Option(help="Which processes to run here.")] = Role.ALL,
) -> None:
    """Run the node until it is told to stop."""
    from node import log, service
    from node.tls.certificates import check_all

    settings = load(config)
    check_all(settings)
    if settings.notify:
        from node import notify

        notify.check(settings)
    if role is Role.ALL:
        log.open_log("serve")
        service.Supervisor(settings).run()
    else:
        service.run_role(settings, role.value)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the reports, pictures and everything received.")] = Path("out"),
    once: Annotated[bool, typer.Option("--once", help="End when all samples are answered.")] = False,
) -> None:
    """Run the real node on the shipped samples, with an embedded archive in place of a PACS."""
    from node.demo import run

    run(out, once)


@app.command()
def check(config: Config = DEFAULT_CONFIG) -> None:
    """Check the configuration, the model and its golden cases, the disk and each destination; exit 0 if all is well."""
    from node.check import examine, render

    findings = examine(load(config))
    render(findings)
    raise typer.Exit(0 if all(finding.passed for finding in findings) else 1)


@app.command()
def doctor(
    config: Config = DEFAULT_CONFIG,
    model: Annotated[bool, typer.Option("--model", help="Have the model answer its golden cases, too.")] = False,
    send: Annotated[
        bool, typer.Option("--send", help="Store a test study (patient TEST) at every destination.")
    ] = False,
    notify: Annotated[bool, typer.Option("--notify", help="Send a test message to everybody under notify.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what keeps the node and its PACS apart and how to mend it, and what to type into both; exit 0 if all is well."""
    from node.doctor import examine, of_errors
    from node.doctor.findings import all_well
    from node.doctor.show import render, to_json

    settings: Settings | None = None
    try:
        settings = load(config)
    except ConfigError as error:
        findings = of_errors(error)
    else:
        findings = list(examine(settings, model, send, notify))
    if as_json:
        typer.echo(json.dumps(to_json(findings, settings), indent=2))
    else:
        from rich.console import Console

        render(Console(highlight=False, soft_wrap=True), findings, settings)
    raise typer.Exit(0 if all_well(findings) else 1)


@app.command()
def calibrate(
    cases: Annotated[Path, typer.Option(help="CSV of your labeled films: file, label and, if known, patient_id.")],
    images: Annotated[Path, typer.Option(help="Folder that its file names are relative to: DICOM or pictures.")],
    config: Config = DEFAULT_CONFIG,
    sensitivity: Annotated[
        float | None, typer.Option(min=0.01, max=1, help="Share of each class to be flagged; the model's by default.")
    ] = None,
    uncertain_share: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=0.5, help="Share of each class that may be called not flagged; the model's by default."
        ),
    ] = None,
    prevalence: Annotated[
        list[str] | None, typer.Option(help="Of a class among your studies, as Tuberculosis=0.02; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to keep the cut-offs in; must not exist.")] = None,
) -> None:
    """Choose cut-offs on labeled films of your own, and show what they would give beside the model's."""
    from node import log, site_calibration, site_words
    from node.bundle import load as load_bundle
    from node.gate import GateRules
    from node.site_cases import read_cases

    settings = load(config)
    bundle = load_bundle(settings.model.bundle)
    wanted = site_calibration.wanted_for(bundle, sensitivity, uncertain_share, prevalence or ())
    with log.native_notes_held_back():
        from node.infer import Reader

        reader = Reader(bundle, settings.model.device)
    gate = GateRules(settings.gate.read_secondary_capture, settings.gate.minimum_px, bundle.manifest.age_years)
    read, left_out = read_cases(cases, images, bundle.label_names, gate, reader.read)
    if left_out:
        typer.echo(site_words.left_out(left_out))
    typer.echo(site_words.concluded(site_calibration.calibrate_site(read, bundle.rules, wanted), bundle, out))


@app.command()
def echo(
    name: Annotated[str, typer.Argument(help="Name of a destination; all of them when left out.")] = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Verify destinations by a C-ECHO."""
    from node.deliver import StorageSCU

    settings = load(config)
    failed = False
    for destination in _chosen(settings, name):
        try:
            with StorageSCU(destination, settings.listen.ae_title) as scu:
                typer.echo(f"{destination.name}: {scu.peer.ae_title} answered in {scu.echo():.0f} ms")
        except DeliveryError as error:
            typer.secho(f"{destination.name}: {error}", err=True, fg=typer.colors.RED)
            failed = True
    raise typer.Exit(1 if failed else 0)


@app.command()
def send(
    files: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.")],
    config: Config = DEFAULT_CONFIG,
    host: Annotated[str, typer.Option(help="Address to send to; this node's own by default.")] = "",
    port: Annotated[int, typer.Option(help="Port to send to; this node's own by default.")] = 0,
    called: Annotated[str, typer.Option(help="AE title to call; this node's own by default.")] = "",
    calling: Annotated[str, typer.Option(help="AE title to call from.")] = "CXRSEND",
) -> None:
    """Send DICOM files by C-STORE, to this node unless told otherwise."""
    from node.send import send as store

    listen = load(config).listen
    found = [path for name in files for path in (sorted(_files_in(name)) if name.is_dir() else [name])]
    tls = None
    if listen.tls and not host and not port:
        from node.tls.contexts import of_itself

        tls = of_itself(listen.tls, listen.host)
    at = (host or listen.host, port or listen.port)
    results = store(found, *at, called or listen.ae_title, calling, tls=tls)
    for result in results:
        typer.echo(f"{result.path}: {result.status_name}")
    raise typer.Exit(0 if all(result.stored for result in results) else 1)


@app.command()
def status(
    config: Config = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what the node is doing: what runs, what waits, what is parked and why."""
    from node.status import render, snapshot

    state = snapshot(load(config))
    if as_json:
        typer.echo(json.dumps(state, indent=2))
        return
    from rich.console import Console

    Console().print(render(state))


@app.command()
def retry(
    study: Annotated[
        str, typer.Argument(help="Key of a study as `status` shows it; all parked work if left out.")
    ] = "",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Put parked work back to work, after its cause has been mended."""
    from node import orders
    from node.spool import Spool

    chosen = orders.retry(Spool(load(config).spool.folder), study)
    for task in chosen:
        typer.echo(f"{task.study_key}: {task.verb} again")
    if not chosen:
        typer.echo("nothing is parked" if not study else f"nothing of study {study} is parked")
    raise typer.Exit(0 if chosen or not study else 1)


@app.command()
def replay(
    study: Annotated[str, typer.Argument(help="Key of a study as `status` shows it.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Read a study anew and send the new results, which name those they replace."""
    from node import orders
    from node.spool import Spool

    task = orders.replay(Spool(load(config).spool.folder), study)
    typer.echo(f"{task.study_key}: is read anew")


@app.command()
def password(config: Config = DEFAULT_CONFIG) -> None:
    """Ask for the status page's password and keep it, hashed, in the file that web.password_file names."""
    from node import password as passwords

    file = load(config).web.password_file
    if file is None:
        raise ConfigError(
            f"{config}: web.password_file names no file; name one, such as web.password, and run this again"
        )
    passwords.write(file, typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    typer.echo(f"kept in {file}; it holds from the next login on, and who is logged in must do so again")


@app.command()
def release(
    study: Annotated[str, typer.Argument(help="Key of a study as `status` shows it, or its beginning.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Have the results of a study sent that wait for a person, or were withheld."""
    from node import audit
    from node import release as releases
    from node.spool import Spool

    settings = load(config)
    with audit.opened(settings, "release"):
        task = releases.release(Spool(settings.spool.folder), settings.mode, study, _user())
    typer.echo(f"{task.study_key}: is sent")


@app.command()
def withhold(
    study: Annotated[str, typer.Argument(help="Key of a study as `status` shows it, or its beginning.")],
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Have the results of a study kept and not sent that wait for a person; `release` sends them all the same."""
    from node import audit
    from node import release as releases
    from node.spool import Spool

    settings = load(config)
    with audit.opened(settings, "withhold"):
        task = releases.withhold(Spool(settings.spool.folder), study, _user())
    typer.echo(f"{task.study_key}: is withheld")


@app.command()
def export(
    out: Annotated[Path | None, typer.Option(help="File to write; must not exist. Printed when left out.")] = None,
    identifiers: Annotated[
        bool, typer.Option("--identifiers", help="Add Study Instance UID and Accession Number: patients' data.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """List as CSV what was answered to each study held: answer, probabilities, model, times, and what became of it."""
    from node import comparison
    from node.spool import Spool

    lines = comparison.to_csv(Spool(load(config).spool.folder), identifiers)
    if out:
        comparison.write(out, lines)
    else:
        typer.echo("".join(lines), nl=False)


@app.command()
def quarantine(
    name: Annotated[str, typer.Argument(help="Name of a refused instance as listed; all of them when left out.")] = "",
    export: Annotated[Path | None, typer.Option(help="Folder to copy them to. They hold patients' data.")] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Delete them.")] = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """List the instances that were refused and are kept, copy them for a person to look at, or delete them."""
    from node.quarantine import Quarantine
    from node.status_text import mebibytes, moment

    held = Quarantine(load(config).spool.folder / "quarantine")
    chosen = [entry for entry in held.entries() if entry.name.startswith(name)]
    for entry in chosen:
        words = f"{entry.calling} at {entry.address}, {entry.sop_class}, {mebibytes(entry.bytes)}"
        typer.echo(f"{entry.name}: {moment(entry.at)} UTC, {words}: {entry.status} {entry.reason}")
        if export:
            typer.echo(f"  copied to {held.export(entry.name, export)}")
        if drop:
            held.drop(entry.name)
            typer.echo("  deleted")
    if not chosen:
        typer.echo("nothing is in the quarantine" if not name else f"nothing named {name} is in the quarantine")
    raise typer.Exit(0 if chosen or not name else 1)


@app.command()
def preview(
    file: Annotated[Path, typer.Argument(help="A DICOM file.")],
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("preview.png"),
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Draw what the model would see of a file, and say whether it would be read."""
    from node.preview import preview as draw

    typer.echo(draw(file, out, load(config)))


def _user() -> str:
    """Return who runs this, as the system knows it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user may have no name
        return f"user {os.getuid()}"


def _chosen(settings: Settings, name: str) -> tuple[Destination, ...]:
    chosen = tuple(destination for destination in settings.destinations if name in ("", destination.name))
    if name and not chosen:
        known = ", ".join(destination.name for destination in settings.destinations) or "none"
        raise ConfigError(f"there is no destination {name!r}; the configuration has: {known}")
    return chosen


def _files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
