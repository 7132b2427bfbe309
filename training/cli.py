"""The trainer's verbs: prepare, fit, calibrate, evaluate, export, or all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from node import bundle as bundles
from node import network
from node.errors import NodeError
from training import recipe as recipes
from training.backbone import starting_model
from training.calibrate import Calibrated, calibrate
from training.card import card
from training.data import manifest_from_folders, read_films
from training.evaluate import evaluate
from training.export import export
from training.fit import fit_head
from training.run import Run
from training.score import score

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
def prepare_verb(recipe: Recipe = RECIPE, manifest: Manifest = None, images: Images = None) -> None:
    """Check the films; where there is no manifest, make one of the folders {train,val,test}/{label}/."""
    prepare(recipes.load(recipe, manifest, images))


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
    """Train the head and keep the whole network's weights."""
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
) -> None:
    """Set temperature, cut-offs and the heat map's scale on the validation films."""
    run = Run(recipes.load(recipe, manifest, images, weights, origin, activation), runs)
    run.keep("calibration", calibrate(run).to_json())


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
    out: Annotated[Path, typer.Option(help="where a bundle's scores.csv and metrics.json go")] = Path("out"),
) -> None:
    """Measure the run: test films, sources left out, controls. Or measure a bundle on a manifest."""
    settings = recipes.load(recipe, manifest, images, weights, origin, activation)
    if bundle is None:
        run = Run(settings, runs)
        run.keep("metrics", evaluate(run, _calibrated(run)))
        return
    data = settings.data
    found = score(bundles.load(bundle), data.manifest, data.images, out, settings.evaluate.resamples)
    console.print(found["metrics"])


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
    prepare(settings)
    run = Run(settings, runs)
    fit(run)
    run.keep("calibration", calibrate(run).to_json())
    run.keep("metrics", evaluate(run, _calibrated(run)))
    write_bundle(run, bundle)


def prepare(settings: recipes.Recipe) -> None:
    """Check the films, and say how many there are."""
    data = settings.data
    if not data.manifest.exists():
        count = manifest_from_folders(data.images, data.manifest, settings.labels)
        console.print(f"{data.manifest}: {count} films; each counts as a patient of its own, all as one source")
    films = read_films(data.manifest, data.images, settings.labels)
    console.print(f"{len(films)} films of {len(set(films.patients))} patients in {len(set(films.sources))} sources")


def fit(run: Run) -> None:
    """Train the head and keep the whole network's weights."""
    trained = fit_head(run.films, run.copies, run.recipe)
    model = starting_model(run.recipe)
    network.transfer_head(trained.model, model)
    model.save_weights(run.weights)
    run.keep("history", trained.history)
    losses = trained.history["val_loss"]
    console.print(f"{run.weights}: {len(losses)} epochs, least validation loss {min(losses):.4f}")


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
