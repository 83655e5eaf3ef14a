"""The command line: starts a sandbox, or drives a running one through its control API."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import click
import requests

from sandbox.driver import SandboxDriver, SandboxRefusedError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A local Telegram for testing logins: MTProto servers, accounts with phones, faults on demand."""


def _ports(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        ports = tuple(int(port) for port in value.split(","))
    except ValueError as exc:
        raise click.BadParameter("want port numbers with commas between them, 0 for a free one") from exc
    if not 1 <= len(ports) <= 5 or any(not 0 <= port <= 65_535 for port in ports):
        raise click.BadParameter("want one to five ports between 0 and 65535")
    return ports


_FILE = click.Path(dir_okay=False, path_type=Path)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@click.option("--control-port", default=0, type=click.IntRange(0, 65_535), help="0: a free one.")
@click.option("--dc-ports", default="0,0,0", show_default=True, callback=_ports, help="One per data centre.")
@click.option("--public-key-file", required=True, type=_FILE, help="Gets the RSA key that clients must know.")
@click.option("--state-file", type=_FILE, help="Keeps keys, accounts and authorizations over a restart.")
@click.option("--ready-file", type=_FILE, help="Appears, with the addresses as JSON, once all ports listen.")
@click.option("--token-seconds", default=30.0, show_default=True, help="Life of a login token.")
@click.option("--code-seconds", default=300.0, show_default=True, help="Life of a login code.")
@click.option("--fresh-seconds", default=86_400.0, show_default=True, help="How long a login is too new to end others.")
@click.option("--takeover-seconds", default=5.0, show_default=True, help="Silence after which a key may change hands.")
@click.option("--salt-seconds", default=1800, show_default=True, type=click.IntRange(1), help="Life of a server salt.")
@click.option("--api-id", type=int, help="Accept this api_id only.")
@click.option("--api-hash", help="Accept this api_hash only.")
@click.option("--log-level", default="WARNING", show_default=True)
def serve(**arguments: Any) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    # Imported here: driving a running sandbox needs none of the server, and the TL schema takes a while to
    # load.
    from sandbox.server import Options, Sandbox, SetUpError
    from sandbox.telegram.rules import Rules

    logging.basicConfig(level=arguments.pop("log_level").upper(), format="%(levelname)s %(name)s: %(message)s")
    names = ("token_seconds", "code_seconds", "fresh_seconds", "takeover_seconds", "api_id", "api_hash")
    rules = Rules(**{name: arguments.pop(name) for name in names})

    async def run() -> None:
        sandbox = Sandbox(Options(rules=rules, **arguments))
        ready = await sandbox.start()
        click.echo(json.dumps(ready))
        await sandbox.run_until_signal()

    try:
        asyncio.run(run())
    except SetUpError as exc:
        raise click.ClickException(str(exc)) from exc
    except OSError as exc:
        raise click.ClickException(f"cannot start: {exc}") from exc


# -- driving a running one


class _Driving(click.Command):
    """A command that drives a running sandbox: has --control, and says in one line what went wrong."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        control = click.Option(
            ["--control"],
            envvar="SANDBOX_CONTROL",
            required=True,
            help="URL of its control API; env SANDBOX_CONTROL.",
        )
        self.params.append(control)

    def invoke(self, ctx: click.Context) -> None:
        assert self.callback is not None
        driver = SandboxDriver(ctx.params.pop("control"))
        try:
            answer = ctx.invoke(self.callback, driver, **ctx.params)
        except SandboxRefusedError as exc:
            raise click.ClickException(exc.error) from exc
        except requests.RequestException as exc:
            raise click.ClickException(f"no sandbox answers at {driver.control_url}") from exc
        click.echo(json.dumps(answer, indent=2))


def _words(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[str] | None:
    return value.split(",") if value else None


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None and value is not False}


@main.command(cls=_Driving)
@click.option("--phone")
@click.option("--first-name")
@click.option("--username")
@click.option("--password", help="2FA password.")
@click.option("--hint", help="Hint of the 2FA password.")
@click.option("--dc-id", type=int, help="The account's home data centre.")
@click.option("--accept", type=click.Choice(["next_export", "at_once"]), help="When a scan authorizes the waiting key.")
@click.option(
    "--code-deliveries", metavar="WAY,…", callback=_words, help="How its login codes are sent, one after the other."
)
def account(driver: SandboxDriver, **fields: Any) -> Any:
    """Create an account."""
    return driver.create_account(**_given(fields))


@main.command(cls=_Driving)
def accounts(driver: SandboxDriver) -> Any:
    """List the accounts."""
    return driver.accounts()


@main.command(cls=_Driving)
def login_tokens(driver: SandboxDriver) -> Any:
    """List what is waiting to be scanned."""
    return driver.login_tokens()


@main.command(cls=_Driving)
@click.argument("user_id", type=int)
@click.argument("url")
def scan(driver: SandboxDriver, user_id: int, url: str) -> Any:
    """Let an account's phone scan a tg://login URL."""
    return driver.scan(user_id, url)


@main.command(cls=_Driving)
@click.argument("user_id", type=int)
@click.option("--terminate", metavar="HASH", help="End this one instead of listing.")
def authorizations(driver: SandboxDriver, user_id: int, terminate: str | None) -> Any:
    """List what is logged in to an account."""
    return driver.terminate(user_id, terminate) if terminate else driver.authorizations(user_id)


@main.command(cls=_Driving)
@click.argument("user_id", type=int)
def messages(driver: SandboxDriver, user_id: int) -> Any:
    """Show the login codes that an account's phone received."""
    return driver.messages(user_id)


@main.command(cls=_Driving)
@click.argument("user_id", type=int)
@click.option("--set", "new_password", metavar="PASSWORD", help="The new one.")
@click.option("--hint", default="", help="Shown to whoever is asked for it.")
@click.option("--remove", is_flag=True, help="Log in without one from now on.")
def password(driver: SandboxDriver, user_id: int, new_password: str | None, hint: str, remove: bool) -> Any:
    """Set or remove an account's 2FA password."""
    if (new_password is None) is not remove:
        raise click.UsageError("want either --set or --remove")
    return driver.remove_password(user_id) if new_password is None else driver.set_password(user_id, new_password, hint)


@main.command(cls=_Driving)
@click.argument("user_id", type=int)
@click.argument("new_state", type=click.Choice(["active", "deactivated", "banned"]))
def state(driver: SandboxDriver, user_id: int, new_state: str) -> Any:
    """Ban, deactivate or restore an account."""
    return driver.set_state(user_id, new_state)


@main.command(cls=_Driving)
@click.option("--add", metavar="METHOD", help="TL name, e.g. auth.exportLoginToken; * for any.")
@click.option("--error", help="E.g. FLOOD_WAIT_17.")
@click.option("--delay-ms", type=int)
@click.option("--drop-connection", is_flag=True)
@click.option("--silent", is_flag=True)
@click.option("--lose-update", is_flag=True)
@click.option("--times", type=int)
@click.option("--user-id", type=int)
@click.option("--auth-key-id")
@click.option("--remove", metavar="ID", type=int, help="Forget one fault.")
@click.option("--clear", is_flag=True, help="Forget all faults.")
def faults(driver: SandboxDriver, add: str | None, remove: int | None, clear: bool, **effects: Any) -> Any:
    """List the faults that wait, add one, remove one, or clear them."""
    if remove is not None:
        return driver.remove_fault(remove)
    if clear:
        return driver.clear_faults()
    return driver.add_fault(add, **_given(effects)) if add else driver.faults()


@main.command(cls=_Driving)
@click.option("--mode", type=click.Choice(["ok", "refuse", "accept_and_close", "silent"]))
@click.option("--latency-ms", type=int)
@click.option("--cut-all", is_flag=True, help="Reset all open connections.")
def network(driver: SandboxDriver, **weather: Any) -> Any:
    """Change the network between clients and servers."""
    return driver.network(**_given(weather))


@main.command(cls=_Driving)
def stats(driver: SandboxDriver) -> Any:
    """Show connections, keys, calls and violations."""
    return driver.stats()
