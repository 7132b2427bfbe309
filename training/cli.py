"""The trainer's verbs: prepare, fit, calibrate, evaluate, export, or all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from node import bundle as bundles
from node.errors import ConfigError, NodeError
from node.site_calibration import calibrate_site, wanted_for
from node.site_words import concluded
from training import recipe as recipes
from training.calibrate import Calibrated, calibrate
from training.card import card
from training.export import export
from training.prepare import prepare
from training.run import Run
from training.run_report import evaluated
from training.score import METRICS, REPORT, score
from training.site import cases_of
from training.summary import headline

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
console = Console()

Recipe = Annotated[Path, typer.Option("--recipe", help="the run's settings")]
Manifest = Annotated[Path | None, typer.Option("--manifest", help="in place of data.manifest")]
Images = Annotated[Path | None, typer.Option("--images", help="in place of data.images")]
Weights = Annotated[str | None, typer.Option("--weights", help="in place of backbone.weights")]
Origin = Annotated[str | None, typer.Option("--origin", help="whose the weights are and their license, for the card")]
Activation = Annotated[str | None, typer.Option("--activation", help="in place of backbone.activation")]
Runs = Annotated[Path, typer.Option("--runs", help="folder of runs and cached features")]
NewBundle = Annotated[Path, typer.Option("--bundle", help="folder to write; must not exist")]

RECIPE = Path("config/training.yaml")
RUNS = Path("runs")


@app.command("prepare")
def prepare_verb(recipe: Recipe = RECIPE, manifest: Manifest = None, images: Images = None, runs: Runs = RUNS) -> None:
    """Check, count, compare and draw the films; without a manifest, make one of {train,val,test}/{label}/."""
    prepare(recipes.load(recipe, manifest, images), runs, console)


@app.command("fit")
def fit_verb(
    recipe: Recipe = RECIPE,
    manifest: Manifest = None,
    images: Images = None,
    weights: Weights = None,
    origin: Origin = None,
    activation: Activation = None,
    runs: Runs = RUNS,
) -> None:
    """Train the networks, gradually unfrozen; an interrupted training goes on where it was."""
    fit(Run(recipes.load(recipe, manifest, images, weights, origin, activation), runs))


@app.command("calibrate")
def calibrate_verb(
    recipe: Recipe = RECIPE,
    manifest: Manifest = None,
    images: Images = None,
    weights: Weights = None,
    origin: Origin = None,
    activation: Activation = None,
    runs: Runs = RUNS,
    scores: Annotated[
        Path | None, typer.Option(help="scores.csv of evaluate --bundle: choose a site's cut-offs")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="the bundle that made the scores")] = None,
    sensitivity: Annotated[float | None, typer.Option(min=0.01, max=1, help="the bundle's by default")] = None,
    uncertain_share: Annotated[float | None, typer.Option(min=0.001, max=0.5, help="the bundle's by default")] = None,
    prevalence: Annotated[list[str] | None, typer.Option(help="as Tuberculosis=0.02; may be repeated")] = None,
    out: Annotated[Path | None, typer.Option(help="the site's file to write; must not exist")] = None,
) -> None:
    """Set temperature, cut-offs and the heat map's scale on the validation films. Or choose a site's cut-offs by scores."""
    if scores is None:
        run = Run(recipes.load(recipe, manifest, images, weights, origin, activation), runs)
        run.keep("calibration", calibrate(run).to_json())
        return
    if bundle is None:
        raise ConfigError("--scores needs --bundle: the bundle that made them")
    made_by = bundles.load(bundle)
    wanted = wanted_for(made_by, sensitivity, uncertain_share, prevalence or ())
    typer.echo(concluded(calibrate_site(cases_of(scores, made_by), made_by.rules, wanted), made_by, out))


@app.command("evaluate")
def evaluate_verb(
    recipe: Recipe = RECIPE,
    manifest: Manifest = None,
    images: Images = None,
    weights: Weights = None,
    origin: Origin = None,
    activation: Activation = None,
    runs: Runs = RUNS,
    bundle: Annotated[Path | None, typer.Option(help="measure this bundle on every film of the manifest")] = None,
    out: Annotated[Path, typer.Option(help="where a bundle's scores.csv, metrics.json and report.html go")] = Path(
        "out"
    ),
    resamples: Annotated[int, typer.Option(min=1, help="of patients, for a bundle's 95 % intervals")] = 1000,
) -> None:
    """Measure the run: test films, sources left out, controls. Or measure a bundle on a manifest."""
    if bundle is None:
        evaluate(Run(recipes.load(recipe, manifest, images, weights, origin, activation), runs))
        return
    if manifest is None or images is None:
        data = recipes.load(recipe, manifest, images).data
        manifest, images = data.manifest, data.images
    told(score(bundles.load(bundle), manifest, images, out, resamples), out)


@app.command("export")
def export_verb(
    bundle: NewBundle,
    recipe: Recipe = RECIPE,
    manifest: Manifest = None,
    images: Images = None,
    weights: Weights = None,
    origin: Origin = None,
    activation: Activation = None,
    runs: Runs = RUNS,
) -> None:
    """Write the bundle, read it back, and replay its golden films."""
    write_bundle(Run(recipes.load(recipe, manifest, images, weights, origin, activation), runs), bundle)


@app.command("all")
def all_verb(
    bundle: NewBundle,
    recipe: Recipe = RECIPE,
    manifest: Manifest = None,
    images: Images = None,
    weights: Weights = None,
    origin: Origin = None,
    activation: Activation = None,
    runs: Runs = RUNS,
) -> None:
    """Run prepare, fit, calibrate, evaluate and export."""
    settings = recipes.load(recipe, manifest, images, weights, origin, activation)
    prepare(settings, runs, console)
    run = Run(settings, runs)
    fit(run)
    run.keep("calibration", calibrate(run).to_json())
    evaluate(run)
    write_bundle(run, bundle)


def fit(run: Run) -> None:
    """Train the networks, the run's and those it is compared with; an interrupted training goes on where it was."""
    run.fit()
    for trained in run.members:
        losses = [row["val_loss"] for row in trained.history]
        console.print(f"{trained.weights}: {len(losses)} epochs, least validation loss {min(losses):.4f}")


def evaluate(run: Run) -> None:
    """Measure the run, and say where the report is."""
    told(evaluated(run, _calibrated(run)), run.folder)


def told(metrics: dict[str, Any], folder: Path) -> None:
    """Print what was measured in a few sentences, and where the rest is."""
    for sentence in headline(metrics):
        console.print(sentence, markup=False)
    if unread := metrics.get("not_read"):
        console.print(
            f"Not read: {len(unread)} of {metrics['listed']} films; the first: {unread[0]['file']}: {unread[0]['reason']}",
            markup=False,
        )
    console.print(f"{folder / METRICS}, {folder / REPORT}", markup=False, soft_wrap=True)


def write_bundle(run: Run, folder: Path) -> None:
    """Write the card and the bundle."""
    calibrated, metrics = _calibrated(run), run.kept("metrics")
    written = export(run, calibrated, card(run, calibrated, metrics), folder)
    identity = written.identity
    console.print(f"{written.folder}: {identity.name} {identity.version}, {' '.join(identity.parameters)}")


def _calibrated(run: Run) -> Calibrated:
    return Calibrated.from_json(run.kept("calibration"))


def main() -> None:
    """Run the command line; a refusal is one line, not a traceback."""
    try:
        app()
    except NodeError as error:
        Console(stderr=True).print(f"[bold red]{type(error).__name__}[/]: {error}", soft_wrap=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
