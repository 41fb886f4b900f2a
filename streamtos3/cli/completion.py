"""Completion in the shell: scripts, and what a half-typed word may become.

Whoever presses the tabulator wants no message: what fails, or takes too long, completes nothing.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

__all__ = ["SHELLS", "VARIABLE", "complete_word", "register", "script"]

VARIABLE = "_STREAMTOS3_COMPLETE"
"""Set by the scripts: the program completes a word then, and does nothing else."""

_SCHEME = "s3://"
_PATIENCE_S = 3.0

# click's own hands over words that bash has split at colons, and s3://bucket/key has one: so the
# line is handed over, and what stands before the last colon is taken off the answers again. Nor
# does bash quote what it inserts, and a key may have been chosen by anybody, such as $(reboot).
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' type value
    COMPREPLY=()
    while IFS=',' read -r type value; do
        case $type in
        dir) compopt -o dirnames ;;
        file) compopt -o default ;;
        plain)
            COMPREPLY+=("$value")
            [[ $value == */ ]] && compopt -o nospace
            ;;
        esac
    done < <(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

# As click's own, but no space after a slash, and --option= stays before the value.
_ZSH = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local -a described plain open response
    (( ! $+commands[%(prog_name)s] )) && return 1
    response=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \\
        %(complete_var)s=zsh_complete %(prog_name)s 2>/dev/null)}")
    for type key descr in ${response}; do
        case $type in
        dir) compset -P 1 '--*='; _path_files -/ ;;
        file) compset -P 1 '--*='; _path_files -f ;;
        plain)
            if [[ "$descr" != "_" ]]; then described+=("$key":"$descr")
            elif [[ "$key" == */ ]]; then open+=("$key")
            else plain+=("$key")
            fi
            ;;
        esac
    done
    (( $#described )) && _describe -V unsorted described -U
    (( $#plain )) && compadd -U -V unsorted -a plain
    (( $#open )) && compadd -U -S '' -V unsorted -a open
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

# As click's own, but a value may hold a comma, and --option= stays before it.
_FISH = """\
function %(complete_func)s
    set -l before (string match -r -- '^--[^=]*=' (commandline -t))
    set -l response (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) \\
        COMP_CWORD=(commandline -t) %(prog_name)s 2>/dev/null)
    for completion in $response
        set -l item (string split -m 1 "," $completion)
        switch $item[1]
            case dir
                __fish_complete_directories $item[2] | string replace -r '^' -- "$before"
            case file
                __fish_complete_path $item[2] | string replace -r '^' -- "$before"
            case plain
                echo "$before$item[2]"
        end
    end
end

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _Quiet(ShellComplete):
    """Completes nothing where anything goes wrong, and files behind the -- of `run`."""

    def complete(self) -> str:
        try:
            return super().complete()
        except Exception:  # noqa: BLE001 - a half-typed line may be anything
            return ""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        if "--" in args and args[0] == "run":
            return [CompletionItem(incomplete, type="file")]
        return super().get_completions(args, incomplete)


class _Bash(_Quiet, BashComplete):
    source_template = _BASH

    def source(self) -> str:
        """The script; whether this bash is new enough is not looked at, as it may be another's."""
        return self.source_template % self.source_vars()

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)
        incomplete = "" if not words or line[-1:].isspace() else words.pop()
        breaks = os.environ.get("COMP_WORDBREAKS", "")
        ends = [incomplete.rfind(each) for each in ":=" if each in breaks]
        self._typed_before = incomplete[: max(ends, default=-1) + 1]
        self._quote, inside = _open_quote(line)
        if self._quote:  # what stands in it is not broken, and is all that bash replaces
            self._typed_before = incomplete.removesuffix("".join(split_arg_string(inside)))
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        value = str(item.value).removeprefix(self._typed_before)
        return f"{item.type},{_QUOTING[self._quote](value) if item.type == 'plain' else value}"


class _Zsh(_Quiet, ZshComplete):
    source_template = _ZSH

    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        option, equals, _ = incomplete.partition("=")
        self._option = option + equals if equals and option.startswith("--") else ""
        return args, incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """What replaces the whole word."""
        item.value = f"{self._option}{item.value}"
        return super().format_completion(item)


class _Fish(_Quiet, FishComplete):
    source_template = _FISH


_QUOTING: dict[str, Callable[[str], str]] = {
    "": lambda text: re.sub(r"[^\w@%+=:,./-]", r"\\\g<0>", text),
    '"': lambda text: re.sub(r'["\\$`]', r"\\\g<0>", text),
    "'": lambda text: text.replace("'", r"'\''"),
}
"""How bash is told that a text is meant as it is, after the quote that is open."""


def _open_quote(line: str) -> tuple[str, str]:
    """The quote that `line` opens last and does not close, and `line` from there on; or nothing."""
    quote, begins, escaped = "", len(line), False
    for place, each in enumerate(line):
        if escaped:
            escaped = False
        elif each == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if each == quote else quote
        elif each in "'\"":
            quote, begins = each, place
    return (quote, line[begins:]) if quote else ("", "")


SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


def register() -> None:
    """Have click complete by these classes."""
    for name, kind in SHELLS.items():
        add_completion_class(kind, name)


def script(program: click.Command, shell: str) -> str:
    """What the `shell` is to read in, so that it completes the words of `program`."""
    return SHELLS[shell](program, {}, "streamtos3", VARIABLE).source()


def complete_word(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """A bucket or key where the word begins an s3:// address, else a file."""
    if incomplete.startswith(_SCHEME):
        return [CompletionItem(each) for each in _addresses(ctx, incomplete)]
    if incomplete and _SCHEME.startswith(incomplete):
        return [CompletionItem(_SCHEME)]
    return [CompletionItem(incomplete, type="file")]


def _addresses(ctx: click.Context, incomplete: str) -> list[str]:
    """The addresses that begin so, asked for with the connection that the line describes."""
    from ..model.options import Connection
    from ..s3.names import bucket_names, key_names, load

    given = ctx.params
    connection = Connection(
        endpoint_url=given.get("endpoint_url"),
        region=given.get("region"),
        profile=given.get("profile"),
        keyfile=given.get("keyfile"),
        insecure_keyfile=bool(given.get("insecure_keyfile")),
        ca_bundle=given.get("ca_bundle"),
        verify_tls=not given.get("no_verify_ssl"),
        proxy=given.get("proxy"),
    )
    load()
    found: list[str] = []
    bucket, slash, prefix = incomplete.removeprefix(_SCHEME).partition("/")

    def ask() -> None:
        try:
            if slash:
                keys = key_names(connection, bucket, prefix)
                found.extend(f"{_SCHEME}{bucket}/{each}" for each in keys)
            else:
                found.extend(f"{_SCHEME}{each}/" for each in bucket_names(connection))
        except Exception:  # noqa: BLE001 - no credentials, no right, no network: no completion
            return

    # In a thread, because looking for credentials alone may take longer than anybody waits. What
    # is loaded before is not waited for by anybody else.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PATIENCE_S)
    return [each for each in list(found) if each.startswith(incomplete) and each.isprintable()]
