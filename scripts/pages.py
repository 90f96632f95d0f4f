"""Write the parts of the documentation that repeat the code, such as keys, commands and events.

    python -m scripts.pages

Each part is between `<!-- PART, written by scripts/pages.py -->` and `<!-- end -->` in its page. A test compares the
pages with the script's output, so that they can't become outdated.
"""

from __future__ import annotations

import functools
import html
import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import typer
from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import format_key

DOCS = Path(__file__).parents[1] / "docs"
SECTIONS = ("Runs", "A run", "Panes", "Everywhere", "New run")
"""The groups of keys in the order of the help page; sections of one screen follow."""
SCREENS = {
    "Filter": "The filter line",
    "ImagesPane": "The Images pane",
    "QueueScreen": "The queue",
    "Storage": "Disk use",
    "Dialog": "Any dialog",
    "ConfirmDialog": "A question",
    "ResultDialog": "A result, with a command to copy",
    "Help": "The help page",
}
"""The sections of keys that have no group, by the class that binds them."""
KEY_NAMES = {
    "enter": "enter",
    "pagedown": "page down",
    "pageup": "page up",
    "shift+down": "shift+↓",
    "shift+up": "shift+↑",
}
"""The names of keys for which Textual's own names are unusual."""
STATES = {
    "running": "its process works",
    "stalled": "its process lives but makes no progress",
    "queued": "its process waits for a slot on the device",
    "finished": "the run is complete",
    "reference": "a finished run that ships with the program",
    "stopped": "it ended on request, and stored a checkpoint",
    "failed": "it ended with an error; the log holds the error and what to do about it",
    "crashed": "its process ended without logging why: it was killed, or memory ran out",
    "broken": "its config can't be read",
}
OPTION_HEADER = ["option", "what it does", "default"]
FIELDS = {
    "time": "when the event was logged, in seconds since 1970",
    "v": "the version of the schema, 1",
    "offset": "where the line begins in the file, in bytes",
    "against": "what the gain is over; empty in older logs: the better plain baseline",
    "at": "the iteration at which the fit stopped",
    "stops_compared.at": "the iteration of each image's stop",
    "ahead": "the number of runs ahead in the queue",
    "averaged": "the PSNR of the running average of outputs, for each image",
    "bands": "the held-out error of eps in ten equal intervals of the timesteps, least noisy first",
    "best": "true if the model of this epoch was stored as the best",
    "budget_of": "the hybrid whose seconds were this method's time budget",
    "cells": "the number of cells in the mean; a cell is a task on a set of images",
    "columns": "how many images each row of the picture has; 0: unknown",
    "dataset": "the name of the data set",
    "device": "the device, such as cpu or cuda:0",
    "device_name": "the name of the device's model",
    "degraded": "the path of each PNG file with a degraded image",
    "epoch": "the number of finished epochs",
    "epochs": "the total number of epochs; 0: unknown, or none",
    "error": "what went wrong",
    "failed": "true if the method failed; false if it doesn't apply",
    "file": "the path of the file in the run folder",
    "mask_loaded.file": "the path of the mask file",
    "kernel_loaded.file": "the path of the kernel file",
    "files": "the path of each image file, with the SHA-256 hash of its pixels",
    "out": "the path of a copy outside the run folder; empty: there is none",
    "restored_saved.files": "the path of each PNG file with a restored image",
    "restored_saved.images": "how many images were restored; at most 100 of them get files",
    "final": "the PSNR of the last iteration, for each image",
    "first": "the index of the first image in its set",
    "from_epoch": "the epoch of the checkpoint",
    "exact": "images that equal their truth, which the mean leaves out",
    "from_offset": "the lines from this offset up to this event are void; null: no line is void",
    "from_step": "the step of the checkpoint",
    "gain": "the smallest of the mean gains, in dB",
    "held_out": "the held-out error that selects the best model",
    "hint": "what to do about it",
    "image": "the index of the image",
    "images": "how many images",
    "images_per_second": "images processed in a second",
    "iterations": "DIP iterations for each image",
    "kind": "the kind of run: dip, ddpm, hybrid, restore, acceleration, map, image, explanation or study",
    "left_out": "images that only one of both methods restores exactly, which the gain leaves out",
    "trial": "the `candidates` of a method with weights, the `products` of their errors at held-out measurements (by "
    "fold, candidate and candidate, relative to their mean square), the part of these that is `noise`, and `reach`, "
    "how much farther from measured pixels the missing ones lie than the held-out ones",
    "knows": "what the method was given or finds out, besides the measurement, the operator and the kind of noise",
    "level": "info or warning",
    "loss": "the training loss",
    "psnr_measured.loss": "the fit's loss, for each image",
    "lower": "the lower 95% bound of the gain; null for one image",
    "upper": "the upper 95% bound of the gain; null for one image",
    "lr": "the learning rate",
    "mean": "the mean PSNR of the images that aren't exact, in dB",
    "measure": "the name of the measured quantity",
    "method": "the name of the method",
    "name": "the name of the picture, without folder, step and ending",
    "nfe": "evaluations of the diffusion network for each image",
    "options": "the options of its training that its file doesn't hold, such as beta_end",
    "panels": "what the images show, in order",
    "parameters": "how many weights the network has",
    "peak": "the highest PSNR of the fit, for each image",
    "peak_at": "the iteration of the peak, for each image",
    "photons": "the mean photon count of a white pixel; 0: no Poisson part",
    "hit": "the share of impulses",
    "sigma": "the standard deviation of the Gaussian part, in 8-bit grey levels",
    "certainty": "the probability that the kind is right",
    "noise_estimated.kind": "the kind of noise",
    "noise_estimated.text": "the finding in a sentence",
    "noise_estimated.lower": "the lower 90% bound of sigma",
    "noise_estimated.upper": "the upper 90% bound of sigma",
    "method_tried.held_out": "the error at held-out measurements, in 8-bit grey levels",
    "method_tried.lower": "the lower 90% bound of the prediction",
    "method_tried.upper": "the upper 90% bound of the prediction",
    "quality_predicted.held_out": "the error at held-out measurements, in 8-bit grey levels",
    "quality_predicted.lower": "the lower 90% bound of the prediction",
    "quality_predicted.upper": "the upper 90% bound of the prediction",
    "quality_predicted.name": "the name of the picture",
    "predicted_psnr": "the PSNR that the restoration is predicted to have, in dB; null: unknown",
    "chosen": "true if this method restores the whole pictures",
    "fit_measured.held_out": "the error of each image at held-out measurements, in 8-bit grey levels",
    "fit_measured.residual": "the misfit of each image to its measurements, in 8-bit grey levels",
    "fit_measured.noise": "the noise level of each image, in 8-bit grey levels; null: unknown",
    "fit_measured.loss": "the fit's loss, for each image",
    "residual": "the misfit to the measurements, in 8-bit grey levels",
    "noise": "the level of the noise, in 8-bit grey levels; null: unknown",
    "spread": "the deviation of the averaged restorations from their mean, in 8-bit grey levels; null: unknown",
    "spread_measured.error": "the error of each restored image, in 8-bit grey levels; empty without a truth",
    "spread_measured.half": "the share of each image's pixels whose true value lies in the samples' central 50%",
    "spread_measured.samples": "how many samples of equal weight were averaged; 0: the results have other weights",
    "spread_measured.spread": "the standard deviation of the averaged results of each image, in 8-bit grey levels",
    "wide": "the share of each image's pixels whose true value lies in the samples' central interval of `wide_level`",
    "wide_level": "the level of the wide interval: 0.9, or (K - 1) / (K + 1) if K samples have none so wide",
    "tile": "the number of the tile, from 1",
    "tiles": "the number of tiles",
    "seconds_left": "the estimated seconds to the end; null: unknown",
    "protocol": "how the distance was measured",
    "psnr": "PSNR in dB, for each image",
    "early_stopped.psnr": "the image's PSNR at the stop, in dB",
    "restoration_missing.first": "the index of the first of the images in their set",
    "restorations_compared.images": "how many images each cell has",
    "restorations_compared.seeds": "how often each image was degraded",
    "restorations_compared.psnr": "the mean PSNR over all cells, in dB",
    "reason": "why the run stopped",
    "recognised": "whether the classifier gave each image its true class",
    "role": "what the model is for; empty for the prior",
    "rule": "the stopping rule",
    "run": "the id of the run that trained the model",
    "runs": "how many restarts or samples the result averages",
    "samples": "how many samples were measured",
    "seconds": "seconds that the work took",
    "run_finished.seconds": "seconds since the process that finished the run left the queue",
    "checkpoint_stored.seconds": "seconds that the checkpoint took",
    "seed": "the seed of the measurements",
    "set": "the set of images",
    "sha256": "the SHA-256 hash of the file",
    "data_loaded.notes": "for a folder: the files left out, the classes without images, and files of mixed kinds",
    "data_loaded.sha256": "the SHA-256 hash of the images' pixels and labels",
    "kernel_loaded.sha256": "the SHA-256 hash of the kernel's values",
    "mask_loaded.sha256": "the SHA-256 hash of the mask's pixels",
    "source": "where the data came from",
    "split": "train or test",
    "ssim": "SSIM, for each image",
    "step": "the number of steps done",
    "stage": "the number of the stage, from 1",
    "stage_started.title": "what the stage does",
    "stages": "how many stages the method has planned",
    "steps": "the total number of steps; 0: unknown",
    "task": "the degradation, in the form that --task accepts",
    "text": "the message",
    "title": "the heading of the picture",
    "value": "the measured value",
    "why": "the reason, in a sentence",
}
"""The meanings of the events' fields, by `field`, or by `event.field` if the meaning differs in one event."""


def keys() -> str:
    """Return a table of keys for each section; keys that do the same share a line."""
    sections: dict[str, dict[str, list[str]]] = {}
    for owner, binding in _bindings():
        section = binding.group.description if binding.group else SCREENS[owner]
        shown = sections.setdefault(section, {}).setdefault(binding.tooltip or binding.description, [])
        shown += [KEY_NAMES.get(key) or format_key(key) for key in binding.key.split(",")]
    ordered = sorted(sections, key=[*SECTIONS, *SCREENS.values()].index)
    parts = []
    for section in ordered:
        rows = [[" ".join(map(_code, shown)), _prose(text)] for text, shown in sections[section].items()]
        parts.append(f"### {section}\n\n" + table(["key", "what it does"], rows))
    return "\n\n".join(parts)


def _bindings() -> Iterator[tuple[str, Binding]]:
    """Yield every binding with a description in the console, with the name of the class that has it."""
    from dipddpm.tui import console

    for module in pkgutil.walk_packages(console.__path__, f"{console.__name__}."):
        if module.name.endswith("__main__"):
            continue
        for name, owner in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(owner, DOMNode) and owner.__module__ == module.name:
                for binding in owner.__dict__.get("BINDINGS", ()):
                    if isinstance(binding, Binding) and binding.description:
                        yield name, binding


def signs() -> str:
    """Return a table of the signs of the states of a run."""
    from dipddpm.tui.shared.columns import STATE_SIGNS

    rows = [[_code(sign), state, STATES[state]] for state, (sign, _) in STATE_SIGNS.items()]
    return table(["sign", "state", "meaning"], rows)


def fields() -> str:
    """Return the fields that a filter can name."""
    from dipddpm.tui.console.model import query

    return "The fields are " + ", ".join(map(_code, query.FIELDS)) + "."


def commands() -> str:
    """Return a section for each command: its sentence, examples, details, and options by group with their defaults."""
    from dipddpm.tui.cli.main import app

    root: Any = typer.main.get_command(app)
    sections = [_command(f"dipddpm {name}", command) for name, command in root.commands.items()]
    return "\n\n".join([*sections, _console_command()])


def _command(name: str, command: Any) -> str:
    parts = [f"### {name}", _prose(command.sentence)]
    if command.examples:
        parts.append("```sh\n" + "\n".join(command.examples) + "\n```")
    parts += map(_prose, command.details)
    context = typer.Context(command, info_name=name)
    rows = []
    for heading, parameters in command.groups(context).items():
        if known := [_option(parameter, context) for parameter in parameters if parameter.name != "help"]:
            rows += [[f"**{heading}**", "", ""], *known]
    parts.append(table(OPTION_HEADER, rows))
    parts += [_command(f"{name} {each}", sub) for each, sub in getattr(command, "commands", {}).items()]
    return "\n\n".join(parts)


def _option(parameter: Any, context: Any) -> list[str]:
    name, text = parameter.get_help_record(context)
    if parameter.param_type_name == "argument":
        name = parameter.metavar or name
    text, _, details = text.partition("  [")
    known = [each.removeprefix("default: ") for each in details.removesuffix("]").split("; ") if each]
    return [_code(name), _prose(text), ", ".join(each if each == "required" else _code(each) for each in known)]


def _console_command() -> str:
    """Return the section of `dipddpm-tui`."""
    from dipddpm.tui.console.__main__ import _parser

    parser = _parser()
    rows = []
    for action in parser._actions:
        if action.dest != "help":
            metavar = action.metavar or "|".join(action.choices or ())
            shown = action.default if action.default not in {None, False} else ""
            name = " ".join(filter(None, (", ".join(action.option_strings), str(metavar))))
            rows.append([_code(name), _prose(str(action.help)), _code(str(shown)) if shown != "" else ""])
    return f"### dipddpm-tui\n\n{_prose(str(parser.description))}\n\n{table(OPTION_HEADER, rows)}"


def events() -> str:
    """Return a section for each event: its docstring, and its fields with types, defaults and meanings."""
    from dipddpm.core.events import EVENT_TYPES, Event

    common = [field.name for field in msgspec.structs.fields(Event)]
    parts = [_event("Every event", Event, common)]
    for kind in EVENT_TYPES:
        own = [field.name for field in msgspec.structs.fields(kind) if field.name not in common]
        parts.append(_event(f"`{kind.__struct_config__.tag}`", kind, own))
    return "\n\n".join(parts)


def _event(title: str, kind: type[msgspec.Struct], names: list[str]) -> str:
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    tag = kind.__struct_config__.tag
    rows = []
    for name in names:
        meaning = FIELDS.get(f"{tag}.{name}") or FIELDS[name]
        rows.append([_code(name), _type_name(fields[name].type), _default(fields[name]), meaning])
    return f"### {title}\n\n{inspect.getdoc(kind)}\n\n" + table(["field", "type", "default", "meaning"], rows)


def _type_name(annotation: Any) -> str:
    """Return the JSON type of a field."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _type_name(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (list, tuple):
        return f"list of {_type_name(typing.get_args(annotation)[0])}s"
    if typing.get_origin(annotation) is dict:
        return f"{_type_name(typing.get_args(annotation)[1])}s by name"
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return "object"
    if options := typing.get_args(annotation):
        return " or ".join(_type_name(option) for option in options)
    return {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}[annotation]


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return _code(msgspec.json.encode(default).decode())


def slurm() -> str:
    """Return the options of a Slurm job, each with an example."""
    from dipddpm.core.launch.submit import OPTIONS

    examples = ", ".join(_code(f"{key}={example}") for key, (_, example) in OPTIONS.items())
    return f"The keys, with examples of their values, are {examples}. Slurm's own documentation describes them."


def _code(text: str) -> str:
    """Return text as code for a table cell, with bars escaped, because a bar would begin a new column."""
    return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


def _prose(text: str) -> str:
    """Return plain text with Markdown's special characters escaped, except backticks and text between them."""
    return re.sub(r"([<*|])(?=[^`]*(?:`[^`]*`[^`]*)*$)", r"\\\1", text)


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "fields": ("console.md", fields),
    "signs": ("console.md", signs),
    "keys": ("console.md", keys),
    "commands": ("command-line.md", commands),
    "events": ("run-folder.md", events),
    "slurm": ("many-runs.md", slurm),
}
"""The page of each part, and the function that returns the part."""


def page(name: str, text: str) -> str:
    """Return the text of a page with its parts replaced by current ones."""
    for part, (page_name, write) in PARTS.items():
        if page_name == name:
            pattern = rf"(<!-- {part}, written by scripts/pages\.py -->\n).*?(<!-- end -->)"
            replacement = functools.partial(_between, write())
            text, count = re.subn(pattern, replacement, text, flags=re.DOTALL)
            assert count == 1, f"{name} has no markers for the part {part}"
    return text


def _between(content: str, match: re.Match[str]) -> str:
    return f"{match[1]}\n{content}\n\n{match[2]}"


def main() -> None:
    """Write the parts into their pages."""
    for name in sorted({page_name for page_name, _ in PARTS.values()}):
        path = DOCS / name
        path.write_text(page(name, path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
