"""How a command fails: one line on stderr that says what to do, and an exit code that a script can act on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from typer import TyperException
from typer.core import TyperGroup

from orchestrator.errors import Conflict, FleetError, InvalidRequest, NotFound

FAILED = 1  # a job failed, or the fleet could not do it
USAGE = 2  # the command has to be changed


class OneLineErrors(TyperGroup):
    """The root of the commands: the one place where errors become words and exit codes."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        if not options.pop("standalone_mode", True):
            return super().main(args, *rest, standalone_mode=False, **options)
        try:
            code = super().main(args, *rest, standalone_mode=False, **options)
        except FleetError as error:
            sys.exit(report(error))
        except ExceptionGroup as group:
            known = foreseen(group)
            if known is None:
                raise
            sys.exit(report(known))
        except TyperException as error:
            if message := error.format_message():  # empty after a bare group, whose help is out already
                context = getattr(error, "ctx", None)
                complain(f"{message.rstrip('.')}. Try: {context.command_path} --help" if context else message)
            sys.exit(error.exit_code)
        except BrokenPipeError:  # `comfyfleet jobs | head`
            sys.stderr.close()
            sys.exit(FAILED)
        except OSError as error:
            sys.exit(report(error))
        sys.exit(code if isinstance(code, int) else 0)


def complain(message: str) -> None:
    """One line on stderr."""
    print(f"comfyfleet: {' '.join(message.split())}", file=sys.stderr)


def report(error: FleetError | OSError) -> int:
    """Says the error in one line and answers the exit code for it."""
    if isinstance(error, OSError):
        complain(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
        return FAILED
    where = error.details.get("pointer")
    line = f"{error.message} (at {where})" if where and str(where) not in error.message else error.message
    complain(line)
    return USAGE if isinstance(error, InvalidRequest | NotFound | Conflict) else FAILED


def foreseen(error: Exception) -> FleetError | OSError | None:
    """What of it has words for whoever typed the command."""
    leaves = _leaves(error) if isinstance(error, ExceptionGroup) else [error]
    return next((each for each in leaves if isinstance(each, FleetError | OSError)), None)


def _leaves(group: ExceptionGroup[Exception]) -> list[Exception]:
    """What really happened, out of the nested groups that task groups make of it."""
    found: list[Exception] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, ExceptionGroup) else [error]
    return found
