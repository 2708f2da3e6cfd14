"""The `batchsender` command: puts everything together, one file a group of commands."""

from collections.abc import Sequence
from importlib import import_module

import click

from models.errors import BatchSenderError, InvalidInputError

#: From a command to the module that has it. Modules are imported when needed: `send`
#: shall not wait for what only `doctor` uses.
_COMMANDS = {
    "demo": "cli.demo",
    "up": "cli.up",
    "down": "cli.servers",
    "status": "cli.servers",
    "send": "cli.sending",
    "batches": "cli.showing",
    "batch": "cli.showing",
    "recipients": "cli.showing",
    "pause": "cli.showing",
    "resume": "cli.showing",
    "cancel": "cli.showing",
    "suppressions": "cli.suppressions",
    "erase": "cli.erasing",
    "send-one": "cli.messages",
    "config": "cli.configs",
    "endpoints": "cli.endpoints",
    "sink": "cli.sinks",
    "queues": "cli.queues",
    "dead-letters": "cli.dead_letters",
    "limits": "cli.limits",
    "tenants": "cli.keys",
    "keys": "cli.keys",
    "credentials": "cli.rotating",
    "audit": "cli.audit",
    "migrate": "cli.doctor",
    "doctor": "cli.doctor",
    "dns-failover": "cli.dns_failover",
}
_INTERRUPTED = 130


class _Commands(click.Group):
    """The commands in the order in which they are met."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (Click's)
        return list(_COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002  (Click's signature.)
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(_COMMANDS[cmd_name])
        found: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return found


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="batchsender")
def batchsender() -> None:
    """Send bulk messages that lose nobody and repeat nobody."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 2 for bad input, 1 for other failures.

    A failure we can explain is one sentence on stderr.
    """
    try:
        code = batchsender.main(arguments, standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except InvalidInputError as error:
        click.echo(f"Error: {error}", err=True)
        return 2
    except BatchSenderError as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    return code if isinstance(code, int) else 0
