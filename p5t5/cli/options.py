"""Command-line options from dataclasses, with a YAML file as defaults: ``--config recipe.yaml``."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import logging
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import yaml

from p5t5.core.errors import UserError
from p5t5.core.options import as_text


def parse(
    kinds: Sequence[Any], argv: Sequence[str] | None, *, name: str, about: str, example: str, words: str = ""
) -> list[Any]:
    """One instance of each dataclass in ``kinds``; the command line wins over ``--config``.

    ``words``: the option of the first dataclass that takes words without an option's name before them.
    A dataclass with a field ``given`` learns which options the user set, there or in the file.
    Raises UserError for a wrong command line, and for a key of the YAML file that is not an option.
    """
    parser = _Parser(
        prog=f"p5t5 {name}",
        description=about,
        epilog=f"example:\n  {example}",
        formatter_class=_Formatter,
    )
    for kind in kinds:
        _add_options(parser, kind)
    parser.add_argument("--config", metavar="YAML", help="a file of options; the command line wins over it")
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--config")
    known, _ = early.parse_known_args(argv)
    in_file = _set_defaults(parser, kinds, Path(known.config)) if known.config else set()
    found, stray = parser.parse_known_args(argv)
    options = [
        kind(**{field.name: getattr(found, field.name) for field in dataclasses.fields(kind) if field.init})
        for kind in kinds
    ]
    if stray and (not words or any(word.startswith("-") for word in stray)):
        parser.error(f"there is no option {' '.join(stray)}")
    if stray:
        setattr(options[0], words, [*getattr(options[0], words), *stray])
    for chosen in options:
        if hasattr(chosen, "given"):
            chosen.given = frozenset(in_file | _on_command_line(parser, argv))
    return options


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`.")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Defaults behind the help texts, where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str:
        plain = action.help or ""
        shown = action.option_strings and action.default not in (None, argparse.SUPPRESS, "", [])
        return f"{plain} (default: %(default)s)" if shown else plain


def _add_options(parser: argparse.ArgumentParser, kind: Any) -> None:
    """An option for each field of a dataclass; one that is true by default can be turned off by ``--no_NAME`` too."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if not field.init:
            continue
        known = [one for one in typing.get_args(hints[field.name]) if one is not type(None)]
        plain = typing.get_origin(hints[field.name]) is not list and known
        value_type = known[0] if plain else hints[field.name]
        made = None if field.default_factory is dataclasses.MISSING else field.default_factory()
        default = made if field.default is dataclasses.MISSING else field.default
        others = field.metadata.get("aliases", ())
        flags = list(dict.fromkeys([f"--{field.name}", f"--{field.name.replace('_', '-')}", *others]))
        more = {name: value for name, value in field.metadata.items() if name != "aliases"}
        more |= {"default": default, "dest": field.name}
        if default is None and field.default is dataclasses.MISSING and made is None:
            more["required"] = True
        if typing.get_origin(value_type) is list:
            parser.add_argument(*flags, type=str, nargs="+", **more)
        elif value_type is bool:
            parser.add_argument(*flags, type=_truth, nargs="?", const=True, **more)
            if default is True:
                off = list(dict.fromkeys([f"--no_{field.name}", f"--no-{field.name.replace('_', '-')}"]))
                parser.add_argument(*off, action="store_false", dest=field.name, help=argparse.SUPPRESS)
        else:
            parser.add_argument(*flags, type=value_type, **more)


def _truth(written: str) -> bool:
    plain = written.lower()
    if plain not in ("yes", "true", "t", "y", "1", "no", "false", "f", "n", "0"):
        raise argparse.ArgumentTypeError(f"{written!r} is neither true nor false")
    return plain in ("yes", "true", "t", "y", "1")


def _on_command_line(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> set[str]:
    """Names of the options that were typed: argparse leaves the others as they are in the namespace."""
    untouched = object()
    names = [action.dest for action in parser._actions]
    found, _ = parser.parse_known_args(argv, argparse.Namespace(**dict.fromkeys(names, untouched)))
    return {name for name in names if getattr(found, name) is not untouched}


def _set_defaults(parser: argparse.ArgumentParser, kinds: Sequence[Any], path: Path) -> set[str]:
    """Makes the file's values the defaults; returns their names."""
    if not path.is_file():
        raise UserError(f"--config: there is no file {path}.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--config: {path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"--config: {path} must hold `option: value` lines.")
    names = {field.name for kind in kinds for field in dataclasses.fields(kind) if field.init}
    unknown = sorted(set(values) - names)
    if unknown:
        raise UserError(f"--config: {path}: no option {', '.join(unknown)}; see `{parser.prog} --help`.")
    for action in parser._actions:
        if action.dest in values:
            action.required = False
            values[action.dest] = _plain(values[action.dest], action, path)
    parser.set_defaults(**values)
    return set(values)


def _plain(value: Any, action: argparse.Action, path: Path) -> Any:
    """A YAML value as argparse would have read it: an unquoted `no` is False to YAML, 1e-3 a string."""
    if value is None:
        raise UserError(f"--config: {path}: {action.dest} has no value.")
    if action.type is str and not action.nargs:
        value = as_text(value)
    if action.type is None or (isinstance(value, (dict, list)) and action.type is str):
        return value
    if isinstance(value, bool) and action.type is str:
        return "yes" if value else "no"
    try:
        return value if isinstance(value, bool) else action.type(str(value))  # type: ignore[operator]
    except (TypeError, ValueError, argparse.ArgumentTypeError):
        raise UserError(f"--config: {path}: {action.dest}: {value!r} is not what it takes.") from None


def quiet() -> None:
    """Keeps transformers' loading reports and progress bars out of a command's output."""
    from transformers.utils import logging as hf_logging

    logging.getLogger("transformers").setLevel(logging.ERROR)
    hf_logging.disable_progress_bar()


@contextmanager
def quick_start() -> Iterator[None]:
    """For imports and the reading of a model: the garbage collector rests, which would only search what stays."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
