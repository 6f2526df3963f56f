"""Entry point of the command: dispatches to what it is given, and turns errors into exit codes.

It imports neither Beam, pyarrow nor Pillow, so that `--help` and `--version` answer at once.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence

from beam_export._version import __version__
from beam_export.cli.causes import cause_of
from beam_export.cli.console import cannot_print, open_streams, speak_utf8
from beam_export.cli.interpreter import left_as_found
from beam_export.cli.processes import Interrupted, hear_of_children, one_interrupt
from beam_export.cli.system_limits import near_limit, shortage
from beam_export.cli.worker import collect_less
from beam_export.errors import InputError, known_error, mark_errors
from beam_export.images.memory_allocator import give_back_freed
from beam_export.pipeline.notebook import pandas_misfit
from beam_export.pipeline.proxies import spare_this_machine
from beam_export.text import shown

__all__ = ["main"]

_HELP = f"""beam-export {__version__}: images into exact, reproducible shards of tar and Parquet

  beam-export export --input DIR --output_dir OUT [flags]
  beam-export verify OUT [--decode] [--against DIR] [--json]
  beam-export report OUT
  beam-export index OUT [--index dali,wids,energon|all]
  beam-export COMMAND --help

With no command and a leading --, export is meant.
"""

#: The error that has ended the command, kept until the process exits.
_errors: list[Exception] = []

_WORKER_LOST = (
    "a worker process was killed, for want of memory perhaps: run again, with fewer workers "
    "(--direct_num_workers) if need be; the shards that are finished are kept"
)
#: Messages of the local runner and of Prism about a lost worker.
_LOSS_MESSAGES = ("Channel closed prematurely", "SDK worker disconnected")
#: The cause that engines in Java give; elsewhere in the text it may be what a failure entailed.
_LOST_CAUSE = "StatusRuntimeException: CANCELLED: "


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0 done, 1 failed, 2 wrong flags or input.

    Args:
        argv: the arguments, for a command within a process that goes on and is left as it was;
            None for those of this process, whose standard streams are then prepared too, and which
            exits at once if the code is not 0.
    """
    if argv is not None:
        with left_as_found():
            return _main(list(argv))
    speak_utf8()
    open_streams()
    if not _is_verbose(sys.argv):
        # The error of a thread is reported by the code that waits for it.
        threading.excepthook = lambda died: None
    try:
        code = _main(sys.argv[1:])
    except SystemExit as end:
        # Raised by argparse after `--help`.
        code = end.code if isinstance(end.code, int) else 0
    if (error := cannot_print()) is not None:
        _say(
            f"the output cannot be printed ({error.strerror}): see what is wrong with the file or "
            "device that it goes to, and run again; an export itself is not harmed by it."
        )
        code = code or 1
    if code:
        # A run that was cut short may have left threads that never end.
        sys.stderr.flush()
        os._exit(code)
    return code


def _main(arguments: list[str]) -> int:
    if not arguments or arguments in (["--help"], ["-h"], ["help"]):
        print(_HELP, end="")
        return 0
    if arguments == ["--version"]:
        print(f"beam-export {__version__}")
        return 0
    if arguments[0].startswith("-") or _names_a_path(arguments[0]):
        arguments.insert(0, "export")
    verbose = _is_verbose(arguments)
    _quieten(verbose)
    mark_errors()
    collect_less()
    hear_of_children()
    give_back_freed()
    spare_this_machine()
    # By default Pillow frees the memory of each image, and page faults of the next one can take as
    # long as its codec. Read when Pillow is imported, here and in workers; 16 MiB per block.
    os.environ.setdefault("PILLOW_BLOCKS_MAX", "8")
    try:
        return _run(arguments)
    except KeyboardInterrupt as error:
        _say("interrupted")
        return error.exit_code if isinstance(error, Interrupted) else 130
    except Exception as error:
        return _explain(error, verbose)


def _names_a_path(argument: str) -> bool:
    """Returns whether an argument in the place of the command is an input without its flag."""
    if argument in _COMMANDS:
        return False
    return any(one in argument for one in "/*~.\\") or os.path.lexists(argument)


def _is_verbose(arguments: Sequence[str]) -> bool:
    return "--verbose" in arguments or "--verbose=true" in arguments


def _run(arguments: Sequence[str]) -> int:
    command, flags = arguments[0], arguments[1:]
    if command not in _COMMANDS:
        near = difflib.get_close_matches(command, _COMMANDS, n=1)
        names = f"{near[0]!r} is meant, perhaps" if near else f"give {', '.join(_COMMANDS)}"
        raise InputError(f"{command!r} is no command: {names}, or see beam-export --help.")
    # What a command has made for the while is removed, however it is asked to end.
    with one_interrupt():
        return _COMMANDS[command](flags)


# Each command imports what it needs, since importing Beam takes seconds, and parses before that, so
# that --help and a wrong flag are answered at once.


def _export(flags: Sequence[str]) -> int:
    from beam_export.cli.flags import parse_export

    command = parse_export(flags)
    from beam_export.cli.fork_server import started
    from beam_export.cli.look import look_first, needs_workers

    look = look_first(command)
    # Workers start while this process goes on with its imports.
    with started() if needs_workers(command, look) else contextlib.nullcontext():
        from beam_export.cli.export import run_export
        from beam_export.pipeline.notebook import check_notebook

        check_notebook()
        return run_export(command, look)


def _verify(flags: Sequence[str]) -> int:
    from beam_export.cli.flags import parse_verify

    command = parse_verify(flags)
    from beam_export.cli.verify import run_verify
    from beam_export.pipeline.notebook import check_notebook

    check_notebook()
    return run_verify(command)


def _report(flags: Sequence[str]) -> int:
    from beam_export.cli.flags import parse_report

    command = parse_report(flags)
    from beam_export.cli.report import run_report

    return run_report(command)


def _index(flags: Sequence[str]) -> int:
    from beam_export.cli.flags import parse_index

    command = parse_index(flags)
    from beam_export.cli.index import run_index
    from beam_export.pipeline.notebook import check_notebook

    check_notebook()
    return run_index(command)


_COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "export": _export,
    "verify": _verify,
    "report": _report,
    "index": _index,
}


def _quieten(verbose: bool) -> None:
    """Silences the logs of Beam and gRPC unless asked for; errors are reported in one sentence."""
    logging.basicConfig(level=logging.INFO if verbose else logging.CRITICAL)
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR" if verbose else "NONE")


def _explain(error: Exception, verbose: bool) -> int:
    # Its traceback may hold objects, such as a server, whose destructors never return.
    _errors.append(error)
    text = "".join(traceback.format_exception(error))
    known = known_error(error) or pandas_misfit(error)
    if verbose:
        print("\n".join(map(shown, text.split("\n"))), file=sys.stderr)
    if known is not None:
        _say(known.sentence)
        return 2 if isinstance(known, InputError) else 1
    if short := shortage(text) or near_limit():
        _say(short)
        return 1
    cause = cause_of(text)
    lost = cause.startswith(_LOST_CAUSE) or any(words in text for words in _LOSS_MESSAGES)
    _say(f"the run failed: {_WORKER_LOST if lost else cause} (--verbose shows more)")
    return 1


def _say(sentence: str) -> None:
    print(shown(f"beam-export: {sentence}"), file=sys.stderr)
