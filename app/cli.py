"""The `plumbline` command."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from app.backtest_cli import backtest
from app.domain.errors import InvalidInput, PlumblineError, Unavailable

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

    from app.config import Settings
    from app.services.market.candles import DatasetView

    Sessions: TypeAlias = async_sessionmaker[AsyncSession]

# Every command imports what it runs only when it runs: `plumbline --help` stays instant, and no process
# loads the parts of another.

cli = typer.Typer(
    name="plumbline",
    help="Automated trading on Binance Spot whose books always agree with the exchange.\n\n"
    "Settings come from the environment: PORT, DATA_DIR, DATABASE_URL, PUBLIC_URL and others (docs/settings.md).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
candles = typer.Typer(help="Download and import candles, and list what there is.", no_args_is_help=True)
user = typer.Typer(help="Create users, list them, help one who forgot the password.", no_args_is_help=True)

_RUN = "Run"
_LOOK_AFTER = "Look after"
cli.add_typer(backtest, name="backtest", rich_help_panel=_RUN)
cli.add_typer(candles, name="candles", rich_help_panel=_LOOK_AFTER)
cli.add_typer(user, name="user", rich_help_panel=_LOOK_AFTER)

Result = TypeVar("Result")


@cli.command(rich_help_panel=_RUN)
def up() -> None:
    """Start everything on this machine and say where to open it.

    Database, paper exchange, worker and web process are started, watched, started again when one dies,
    and stopped together by Ctrl-C.
    """
    from app.config import load_settings
    from app.supervisor.up import up as run_everything

    run_everything(load_settings(), _say)


@cli.command(rich_help_panel=_RUN)
def web() -> None:
    """Run only the web process: the browser app and the API."""
    from app.web import run

    settings = _process("web")
    run(settings)


@cli.command(rich_help_panel=_RUN)
def worker() -> None:
    """Run only the worker: order execution, strategies and scheduled jobs."""
    from app.os_processes import loading

    with loading():
        from app.database.urls import database_url
        from app.jobs.worker import run

    settings = _process("worker")
    run(settings.model_copy(update={"database_url_worker": database_url(settings, "worker")}))


@cli.command(
    rich_help_panel=_RUN,
    add_help_option=False,  # the exchange has its own options and its own help
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def paper(context: typer.Context) -> None:
    """Run only the paper exchange: a Binance Spot look-alike with money that is not real. See `paper --help`."""
    from app.paper_exchange.errors import StartError
    from app.paper_exchange.main import run
    from app.paper_exchange.options import read_options
    from app.secret_files import ensure_key, make_private_dir

    settings = _process("paper")
    if settings.paper_control_token_file.is_relative_to(settings.secrets_dir):
        # Alone on a fresh machine nobody has made it yet; one that was named elsewhere is its owner's to make.
        make_private_dir(settings.secrets_dir)
        ensure_key(settings.paper_control_token_file)
    wanted = read_options(
        context.args,
        "plumbline paper",
        data=settings.data_dir / "paper-exchange.db",
        host=settings.paper_host,
        port=settings.paper_port,
        control_token_file=settings.paper_control_token_file,
    )
    try:
        run(wanted)
    except StartError as error:
        raise Unavailable(str(error)) from None


@cli.command(rich_help_panel=_LOOK_AFTER)
def migrate() -> None:
    """Bring the database to the newest schema."""
    from app.config import load_settings
    from app.database import migrate as migrations
    from app.database.urls import database_url, require_database
    from app.supervisor.data_dir import database_available

    settings = load_settings()
    with database_available(settings):
        url = database_url(settings, "migrator")
        require_database(url)
        before = migrations.current_revision(url)
        migrations.upgrade(url)
        after = migrations.current_revision(url)
    _say(f"The schema was newest already ({after})" if before == after else f"Migrated from {before} to {after}")


@cli.command(rich_help_panel=_LOOK_AFTER)
def doctor() -> None:
    """Check this machine and this installation, and name what is wrong and what helps.

    Exit code 1 if anything fails; a warning is no failure.
    """
    from app.config import load_settings
    from app.doctor import examine, print_findings

    raise typer.Exit(print_findings(examine(load_settings())))


@candles.command("import")
def import_candles(
    file: Annotated[Path, typer.Argument(help="A CSV of Binance klines, plain, .gz or .zip.", show_default=False)],
    symbol: Annotated[str, typer.Option(help="The symbol, for example BTCUSDT.", show_default=False)],
    timeframe: Annotated[str, typer.Option(help="1s, 1m, 5m, 15m, 1h, 4h, 1d …", show_default=False)],
    name: Annotated[str, typer.Option(help="What to call it; the file's name unless given.")] = "",
) -> None:
    """Import a file of candles: it becomes a venue of its own, for charts, backtests and the paper market."""
    from app.services.market.candles import import_candles as store
    from app.services.market.candles import parse_candles

    try:
        with file.open("rb") as stream:
            parsed = parse_candles(stream, filename=file.name, symbol=symbol, timeframe=timeframe)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.", field="FILE") from None

    async def act(sessions: Sessions) -> DatasetView:
        async with sessions.begin() as session:
            return await store(session, user_id=None, parsed=parsed, name=name or file.name)

    view = _with_database(act)
    _say(f"Imported {_described(view)}")
    for warning in view.warnings:
        _say(f"  {warning}")


@candles.command("list")
def list_candles() -> None:
    """List the imported files."""
    from app.services.market.candles import list_datasets

    async def act(sessions: Sessions) -> list[DatasetView]:
        async with sessions() as session:
            return await list_datasets(session)

    views = _with_database(act)
    _say("\n".join(map(_described, views)) or "No candles were imported yet: see `plumbline candles import --help`.")


@candles.command("download")
def download(
    symbol: Annotated[str, typer.Option(help="The symbol, for example BTCUSDT.", show_default=False)],
    timeframe: Annotated[str, typer.Option(help="1s, 1m, 5m, 15m, 1h, 4h, 1d …", show_default=False)],
    start: Annotated[str, typer.Option("--from", help="First UTC day or moment, like 2024-01-31.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The CSV to write, or to go on with.", show_default=False)],
    end: Annotated[str, typer.Option("--to", help="UTC day or moment to stop before; now unless given.")] = "",
    exchange: Annotated[str, typer.Option(help="live, testnet or paper.")] = "live",
) -> None:
    """Download an exchange's candles into a file. Interrupted, the same command goes on where it stopped."""
    from app.candle_download import download_to_file

    kept = download_to_file(
        exchange=exchange, symbol=symbol, timeframe=timeframe, start=start, end=end, path=out, say=_progress
    )
    sys.stderr.write("\n")
    _say(f"{out} holds {kept:,} candles of {symbol.upper()} {timeframe}.")


@user.command("create")
def create_user(
    email: Annotated[str, typer.Argument(help="The e-mail address to sign in with.", show_default=False)],
    role: Annotated[str, typer.Option(help="trader or admin.")] = "trader",
) -> None:
    """Create a user; the password is asked for, twice."""
    from app.services.identity.users import create_user as create
    from app.services.runtime import SystemClock

    password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)

    async def act(sessions: Sessions) -> None:
        async with sessions.begin() as session:
            await create(session, email=email, password=password, role=role, clock=SystemClock())
            await _audit(session, "user.created", {"email": email, "role": role})

    _with_database(act)
    _say(f"Created {email} as {role}")


@user.command("list")
def list_users() -> None:
    """List the users."""
    from app.services.identity.users import list_users as fetch

    async def act(sessions: Sessions) -> list[str]:
        async with sessions() as session:
            views = await fetch(session)
        return [f"{one.email:40} {one.role:8} {'disabled' if one.disabled_at else ''}".rstrip() for one in views]

    _say("\n".join(_with_database(act)) or "There are no users yet. `plumbline up` prints a link to create the first.")


@user.command("reset-link")
def make_reset_link(
    email: Annotated[str, typer.Argument(help="Whose password is to be chosen anew.", show_default=False)],
) -> None:
    """Print a link with which a user can choose a new password once, within 24 hours."""
    from app.config import load_settings
    from app.services.identity.setup import reset_link
    from app.services.runtime import SystemClock

    public_url = load_settings().public_url

    async def act(sessions: Sessions) -> str:
        async with sessions.begin() as session:
            link = await reset_link(session, email=email, public_url=public_url, clock=SystemClock())
            await _audit(session, "user.reset_link_made", {"email": email})
            return link

    _say(_with_database(act))


def main() -> None:
    """Run the command; what goes wrong for a known reason is one clear message and an exit code, no traceback.

    Exit codes: 2 when an argument or a setting cannot be used (a taken PORT included), 1 for anything else.
    """
    try:
        cli()
    except PlumblineError as error:
        sys.stderr.write(f"plumbline: {error.message}\n")
        sys.exit(2 if isinstance(error, InvalidInput) else 1)


def _say(line: str) -> None:
    print(line, flush=True)


def _progress(line: str) -> None:
    sys.stderr.write(f"\r\x1b[K{line}" if sys.stderr.isatty() else f"{line}\n")
    sys.stderr.flush()


async def _audit(session: AsyncSession, action: str, details: dict[str, str]) -> None:
    from app.domain.clock import to_datetime
    from app.services.identity.audit import record
    from app.services.runtime import SystemClock

    await record(session, actor="cli", action=action, details=details, now=to_datetime(SystemClock().now_ms()))


def _described(view: DatasetView) -> str:
    from app.domain.clock import to_datetime

    first, last = (f"{to_datetime(ms):%Y-%m-%d %H:%M:%S}" for ms in (view.first_ms, view.last_ms))
    gaps = f"{view.gaps} gaps ({view.missing:,} candles missing)" if view.gaps else "no gaps"
    what = f"{view.rows:,} candles of {view.symbol} {view.timeframe}"
    return f"{view.venue}  {view.name}: {what}, {first} to {last} UTC, {gaps}"


def _process(name: str) -> Settings:
    """What every long-running process does first: settings, logs, the parent's fate is its own, money context."""
    from app.config import load_settings
    from app.domain.money import use_money_context
    from app.logs import configure_logging
    from app.os_processes import end_with_parent

    settings = load_settings()
    configure_logging(name, level=settings.log_level)
    use_money_context()
    end_with_parent()
    return settings


def _with_database(act: Callable[[Sessions], Awaitable[Result]]) -> Result:
    """Run `act` with sessions of the web role; the embedded server is started for it if it does not run."""
    from app.config import load_settings
    from app.database import migrate as migrations
    from app.database.engine import make_engine, session_factory
    from app.database.urls import database_url, require_database
    from app.supervisor.data_dir import database_available

    settings = load_settings()

    async def run(url: str) -> Result:
        engine = make_engine(url, application_name="plumbline-cli", pool_size=1)
        try:
            return await act(session_factory(engine))
        finally:
            await engine.dispose()

    with database_available(settings):
        url = database_url(settings, "web")
        require_database(url)
        if migrations.current_revision(database_url(settings, "migrator")) != migrations.newest_revision():
            raise Unavailable("The database is not at the newest schema. Run `plumbline migrate`.")
        return asyncio.run(run(url))


if __name__ == "__main__":
    main()
