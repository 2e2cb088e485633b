"""Testnet and live accounts: from an owner's wish to an account that trades, against a second paper exchange.

The owner's side runs with the role of the web process, the worker's with its own, as in an installation.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from sqlalchemy import select, text, update
from sqlmodel import col

from app.config import Settings
from app.domain.errors import Conflict, InvalidInput, NotAllowed, NotFound, Unavailable
from app.jobs.account_work import AccountWork
from app.jobs.exchanges import Exchanges
from app.jobs.key_work import KeyWork
from app.models.auth import User
from app.models.execution import AccountKind, Credential, Incident, WantedState
from app.models.portfolio import BalanceAdjustment
from app.services import execution
from app.services.exchange.clock import OffsetSample
from app.services.exchange.paper_control import PaperControlClient
from app.services.exchange.protocol import AskingFailed
from app.services.exchange.signing import HmacSecret
from app.services.exchange.vault_private import Vault
from app.services.execution import AccountView, LiveConsent, NewKey
from app.services.execution.store_postgres import PostgresStore
from app.services.runtime import SystemClock
from tests.conftest import Sessions
from tests.exchange.conftest import PaperProcess

OPENING = {"USDT": "2500", "BTC": "0.25"}
NOBODY = "http://127.0.0.1:9"


@dataclass
class World:
    """An owner, the worker's parts, and the stand-in for Binance."""

    web: Sessions
    owner_db: Sessions
    user_id: int
    worker: KeyWork
    accounts: AccountWork
    exchanges: Exchanges
    binance: PaperControlClient
    vault: Vault

    async def ask(self, call: Callable[..., Awaitable[AccountView]], **values: Any) -> AccountView:
        async with self.web.begin() as session:
            return await call(session, **{"user_id": self.user_id, **values})

    async def request(self, kind: str = "LIVE", label: str = "Main", **values: Any) -> AccountView:
        consent = LiveConsent(confirm_live=True, label_again=label)
        given = {"kind": AccountKind(kind), "label": label, "consent": consent, **values}
        return await self.ask(execution.request_exchange_account, **given)

    async def see(self, account_id: int) -> AccountView:
        """The account once the worker has looked."""
        await self.worker.work()
        return await self.ask(execution.get_account, account_id=account_id)

    async def at_binance(self, pem: str | None = None, **rights: Any) -> dict[str, Any]:
        """An account there: {"account_id", "api_key", "secret"}."""
        body = {"label": "theirs", "public_key_pem": pem, "balances": OPENING, "rights": rights}
        return await self.binance._call("POST", "/paper/accounts", body)

    async def allow(self, theirs: dict[str, Any], **rights: Any) -> None:
        await self.binance._call("POST", f"/paper/accounts/{theirs['account_id']}/rights", rights)

    async def with_hmac(self, kind: str = "LIVE", label: str = "Main", **rights: Any) -> tuple[int, dict[str, Any]]:
        """An account of ours with the HMAC key of a new one there; not yet looked at."""
        theirs = await self.at_binance(**rights)
        made = await self.request(kind, label, key=NewKey(theirs["api_key"], theirs["secret"]))
        return made.id, theirs


async def _heard(_: OffsetSample) -> None:
    """Nobody listens to the clock here."""


@pytest.fixture
async def world(
    paper_process: PaperProcess, web_sessions: Sessions, worker_sessions: Sessions, migrator_sessions: Sessions
) -> AsyncIterator[World]:
    async with migrator_sessions.begin() as session:
        user = User(email="ann@example.org", password_hash="x", role="trader")
        session.add(user)
        await session.flush()
        await session.execute(text("UPDATE execution.worker_lease SET epoch = 1"))
        user_id = user.id or 0
    rest, ws = paper_process.url, paper_process.url.replace("http", "ws")
    addresses = {"rest_url": rest, "ws_api_url": f"{ws}/ws-api/v3", "stream_url": ws}
    given = {f"{kind}_{name}": value for kind in ("live", "testnet") for name, value in addresses.items()}
    exchanges = Exchanges(Settings(paper_url=NOBODY, **given), SystemClock(), jitter=lambda: 0.0, told=_heard)
    vault, binance = Vault(b"m" * 32), PaperControlClient(paper_process.url, paper_process.token_file)
    accounts = AccountWork(worker_sessions, vault, binance, exchanges.open_session)
    worker = KeyWork(
        worker_sessions,
        PostgresStore(worker_sessions, epoch=1),
        vault,
        SystemClock(),
        probe=exchanges.probe,
        drop=accounts.drop,
    )
    await worker.publish()
    yield World(web_sessions, migrator_sessions, user_id, worker, accounts, exchanges, binance, vault)
    await accounts.close()
    await exchanges.close()
    await binance.close()


async def dump(sessions: Sessions) -> str:
    """Everything the database holds of accounts and keys, bytes as hex and as letters."""
    tables = ("accounts", "credentials", "key_requests", "incidents", "notices")
    async with sessions.begin() as session:
        found = [(await session.execute(text(f"SELECT t::text FROM execution.{name} t"))).scalars() for name in tables]
        return "\n".join(line for lines in found for line in lines)


async def adjustments(world: World, account_id: int) -> list[tuple[str, Decimal, str]]:
    async with world.owner_db.begin() as session:
        query = select(BalanceAdjustment).where(col(BalanceAdjustment.account_id) == account_id)
        rows = (await session.execute(query.order_by(col(BalanceAdjustment.asset)))).scalars()
        return [(row.asset, row.change, row.reason) for row in rows]


# --- the two ways to an account ----------------------------------------------------------------------------


async def test_a_pair_made_by_the_worker_waits_for_its_api_key_and_is_then_used(world: World) -> None:
    made = await world.request()
    assert (made.state, made.kind, made.key_wanted.public_key_pem if made.key_wanted else "") == (
        "REQUESTED",
        "LIVE",
        "",
    )
    shown = await world.see(made.id)
    assert shown.key_wanted is not None
    assert shown.key_wanted.waits_for_api_key
    assert shown.state == "REQUESTED"
    theirs = await world.at_binance(shown.key_wanted.public_key_pem)
    asked = await world.ask(execution.bring_api_key, account_id=made.id, api_key=f" {theirs['api_key']} ")
    assert asked.key_wanted is not None
    assert not asked.key_wanted.waits_for_api_key
    ready = await world.see(made.id)
    assert (ready.state, ready.state_reason, ready.key_kind) == ("ACTIVE", "", "ED25519")
    assert ready.permissions == ("reading", "spot trading", "bound to addresses")
    assert ready.key_wanted is None
    assert ready.key_checked_at is not None
    assert ready.api_key_hint == theirs["api_key"][-4:]
    assert await world.accounts.open_active() == [made.id]
    assert (await world.accounts.trading[made.id].balances())["USDT"].free == Decimal(2500)


async def test_what_is_held_at_the_exchange_opens_the_books_once(world: World) -> None:
    account_id, theirs = await world.with_hmac()
    assert (await world.see(account_id)).state == "ACTIVE"
    opening = [("BTC", Decimal("0.25"), "opening balance"), ("USDT", Decimal(2500), "opening balance")]
    assert await adjustments(world, account_id) == opening
    again = await world.binance._call("POST", f"/paper/accounts/{theirs['account_id']}/key", {})
    await world.ask(execution.replace_key, account_id=account_id, key=NewKey(again["api_key"], again["secret"]))
    assert (await world.see(account_id)).api_key_hint == again["api_key"][-4:]
    assert await adjustments(world, account_id) == opening


ED25519 = Ed25519PrivateKey.generate()
RSA = generate_private_key(65537, 2048)


@pytest.mark.parametrize(("name", "key"), [("ED25519", ED25519), ("RSA", RSA)])
async def test_an_existing_private_key_is_pasted(world: World, name: str, key: Any) -> None:
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    theirs = await world.at_binance(public)
    made = await world.request(key=NewKey(theirs["api_key"], private))
    ready = await world.see(made.id)
    assert (ready.state, ready.key_kind, ready.public_key_pem) == ("ACTIVE", name, public)
    assert await world.accounts.open_active() == [made.id]
    assert "BTC" in await world.accounts.trading[made.id].balances()


async def test_a_testnet_account_is_asked_nothing_that_the_testnet_does_not_have(world: World) -> None:
    account_id, _ = await world.with_hmac("TESTNET", enableWithdrawals=True)  # which only /sapi would tell
    ready = await world.see(account_id)
    assert (ready.state, ready.kind, ready.permissions) == ("ACTIVE", "TESTNET", ("reading", "spot trading"))


# --- nothing secret stays ----------------------------------------------------------------------------------


@pytest.mark.parametrize("looked_at", [False, True])
async def test_a_pasted_secret_is_nowhere_to_be_read(
    world: World, looked_at: bool, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    account_id, theirs = await world.with_hmac()
    if looked_at:
        await world.see(account_id)
    secret = theirs["secret"]
    everything = await dump(world.owner_db) + caplog.text + "".join(capsys.readouterr())
    assert str(account_id) in everything
    assert secret not in everything
    assert secret.encode().hex() not in everything


async def test_a_key_on_its_way_is_gone_once_it_is_used(world: World) -> None:
    account_id, _ = await world.with_hmac()
    await world.see(account_id)
    async with world.owner_db.begin() as session:
        rows = (
            await session.execute(text("SELECT state, sealed_box, private_key_box FROM execution.key_requests"))
        ).all()
    assert [tuple(row) for row in rows] == [("APPLIED", None, None)]


async def test_a_box_for_another_account_is_refused_and_thrown_away(world: World) -> None:
    mine, _ = await world.with_hmac(label="Mine")
    other, _ = await world.with_hmac(label="Other")
    async with world.owner_db.begin() as session:
        box = select(text("sealed_box FROM execution.key_requests WHERE account_id = :other")).params(other=other)
        swapped = text("UPDATE execution.key_requests SET sealed_box = :box WHERE account_id = :mine")
        await session.execute(swapped, {"box": (await session.execute(box)).scalar_one(), "mine": mine})
    refused = await world.see(mine)
    assert (refused.state, refused.key_wanted) == ("FAILED", None)
    assert "Paste it again" in refused.state_reason
    with pytest.raises(Conflict):
        await world.ask(execution.check_key_again, account_id=mine)


# --- refusals, and trying again ----------------------------------------------------------------------------


async def test_withdrawals_are_refused_and_the_key_is_taken_once_they_are_off(world: World) -> None:
    account_id, theirs = await world.with_hmac(enableWithdrawals=True)
    refused = await world.see(account_id)
    assert refused.state == "FAILED"
    assert refused.state_reason == "Switch off withdrawals for this key at Binance."
    assert refused.key_wanted is not None
    assert refused.key_wanted.message == refused.state_reason
    assert await adjustments(world, account_id) == []
    assert await world.accounts.open_active() == []
    await world.allow(theirs, enableWithdrawals=False)
    assert (await world.see(account_id)).state == "FAILED"  # nobody has asked again
    await world.ask(execution.check_key_again, account_id=account_id)
    assert (await world.see(account_id)).state == "ACTIVE"


@pytest.mark.parametrize(
    ("kind", "rights", "words"),
    [
        ("LIVE", {"enableSpotAndMarginTrading": False}, "Switch on “Enable Spot & Margin Trading”"),
        ("LIVE", {"enableFutures": True, "enableMargin": True}, "futures"),
        ("LIVE", {"enableReading": False}, "does not accept this API key"),
        ("LIVE", {"addresses": ["10.1.2.3"]}, "list of addresses"),
        ("LIVE", {"canTrade": False}, "may not trade"),
        ("TESTNET", {"canTrade": False}, "may not trade"),
        ("TESTNET", {"addresses": ["10.1.2.3"]}, "list of addresses"),
    ],
)
async def test_a_key_that_may_not_be_used_fails_the_account_in_the_owners_words(
    world: World, kind: str, rights: dict[str, Any], words: str
) -> None:
    account_id, _ = await world.with_hmac(kind, **rights)
    refused = await world.see(account_id)
    assert refused.state == "FAILED"
    assert words in refused.state_reason


async def test_a_secret_that_does_not_belong_to_the_key_is_told_apart_and_corrected(world: World) -> None:
    theirs, others = await world.at_binance(), await world.at_binance()
    made = await world.request(key=NewKey(theirs["api_key"], others["secret"]))
    refused = await world.see(made.id)
    assert "does not belong to this API key" in refused.state_reason
    await world.ask(execution.replace_key, account_id=made.id, key=NewKey(theirs["api_key"], theirs["secret"]))
    assert (await world.see(made.id)).state == "ACTIVE"


async def test_a_wrong_api_key_for_the_workers_pair_is_corrected_by_bringing_the_right_one(world: World) -> None:
    made = await world.request()
    shown = await world.see(made.id)
    assert shown.key_wanted is not None
    await world.ask(execution.bring_api_key, account_id=made.id, api_key="x" * 64)
    assert "does not accept this API key" in (await world.see(made.id)).state_reason
    theirs = await world.at_binance(shown.key_wanted.public_key_pem)
    await world.ask(execution.bring_api_key, account_id=made.id, api_key=theirs["api_key"])
    assert (await world.see(made.id)).state == "ACTIVE"


async def test_advice_is_shown_with_a_key_that_works_from_anywhere(world: World) -> None:
    account_id, _ = await world.with_hmac(ipRestrict=False)
    ready = await world.see(account_id)
    assert ready.state == "ACTIVE"
    assert "usable from anywhere" in ready.permissions
    assert "address" in ready.advice[0]


async def test_an_exchange_that_is_away_blames_no_key_and_is_asked_again(world: World) -> None:
    account_id, _ = await world.with_hmac()
    url, world.exchanges.of("LIVE").market._client.API_URL = world.exchanges.of("LIVE").market._client.API_URL, NOBODY
    refused = await world.see(account_id)
    assert refused.state_reason.startswith("The key could not be checked")
    world.exchanges.of("LIVE").market._client.API_URL = url
    await world.ask(execution.check_key_again, account_id=account_id)
    assert (await world.see(account_id)).state == "ACTIVE"


async def test_one_account_there_is_one_account_here(world: World) -> None:
    first, theirs = await world.with_hmac(label="First")
    await world.see(first)
    second = await world.request(label="Second", key=NewKey(theirs["api_key"], theirs["secret"]))
    assert "same account at the exchange as your account “First”" in (await world.see(second.id)).state_reason


async def test_a_new_key_must_be_of_the_same_account_there_and_the_old_one_goes_on(world: World) -> None:
    account_id, theirs = await world.with_hmac()
    await world.see(account_id)
    stranger = await world.at_binance()
    await world.ask(execution.replace_key, account_id=account_id, key=NewKey(stranger["api_key"], stranger["secret"]))
    seen = await world.see(account_id)
    assert (seen.state, seen.api_key_hint) == ("ACTIVE", theirs["api_key"][-4:])
    assert seen.key_wanted is not None
    assert "another account at the exchange" in seen.key_wanted.message


async def test_only_the_newest_key_on_its_way_counts(world: World) -> None:
    account_id, _ = await world.with_hmac(enableWithdrawals=True)
    theirs = await world.at_binance()
    await world.ask(execution.replace_key, account_id=account_id, key=NewKey(theirs["api_key"], theirs["secret"]))
    assert (await world.see(account_id)).api_key_hint == theirs["api_key"][-4:]
    async with world.owner_db.begin() as session:
        states = (await session.execute(text("SELECT state FROM execution.key_requests ORDER BY id"))).scalars()
        assert list(states) == ["DROPPED", "APPLIED"]


# --- what owners may ask -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("consent", "field"),
    [
        (None, "confirm_live"),
        (LiveConsent(), "confirm_live"),
        (LiveConsent(confirm_live=True), "label_again"),
        (LiveConsent(confirm_live=True, label_again="main"), "label_again"),
        (LiveConsent(confirm_live=False, label_again="Main"), "confirm_live"),
    ],
)
async def test_a_live_account_asks_twice(world: World, consent: LiveConsent | None, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await world.request(consent=consent)
    assert refused.value.field == field
    assert (await world.request("TESTNET", consent=None)).kind == "TESTNET"


@pytest.mark.parametrize(
    ("key", "field"),
    [
        (NewKey("", "a" * 64), "api_key"),
        (NewKey("has space " * 8, "a" * 64), "api_key"),
        (NewKey("a" * 64, "short"), "secret"),
        (NewKey("a" * 64, ""), "secret"),
    ],
)
async def test_half_a_key_is_refused_and_leaves_nothing(world: World, key: NewKey, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await world.request(key=key)
    assert refused.value.field == field
    async with world.web.begin() as session:
        assert await execution.list_accounts(session, user_id=world.user_id) == []


async def test_a_secret_waits_until_a_worker_has_said_how_to_seal_it(world: World) -> None:
    async with world.owner_db.begin() as session:
        await session.execute(text("DELETE FROM execution.sealing_keys"))
    with pytest.raises(Unavailable):
        await world.request(key=NewKey("a" * 64, "b" * 64))
    assert (await world.request()).state == "REQUESTED"


async def test_another_users_account_is_not_there_and_a_paper_accounts_key_is_the_workers(world: World) -> None:
    account_id, _ = await world.with_hmac()
    for call in (execution.replace_key, execution.check_key_again):
        with pytest.raises(NotFound):
            await world.ask(call, user_id=world.user_id + 1, account_id=account_id)
    with pytest.raises(NotFound):
        await world.ask(
            execution.want_account, user_id=world.user_id + 1, account_id=account_id, wanted=WantedState.REMOVED
        )
    paper = await world.ask(execution.request_paper_account, label="Paper", balances={"USDT": Decimal(1)})
    with pytest.raises(NotAllowed):
        await world.ask(execution.replace_key, account_id=paper.id)


# --- off, on, gone -----------------------------------------------------------------------------------------


async def want(world: World, account_id: int, wanted: WantedState) -> AccountView:
    await world.ask(execution.want_account, account_id=account_id, wanted=wanted)
    return await world.see(account_id)


async def test_an_account_that_is_switched_off_is_not_called_until_it_is_on_again(world: World) -> None:
    account_id, _ = await world.with_hmac()
    await world.see(account_id)
    await world.accounts.open_active()
    assert (await want(world, account_id, WantedState.DISABLED)).state == "DISABLED"
    assert world.accounts.trading == {}
    assert await world.accounts.open_active() == []
    assert await world.accounts.kinds_in_use() == set()
    await world.ask(execution.want_account, account_id=account_id, wanted=WantedState.ACTIVE)
    assert await world.worker.work() == [account_id]  # to be compared with the exchange first
    assert (await world.see(account_id)).state == "RECOVERING"
    assert await world.accounts.open_active({"PAPER"}) == []  # its exchange was not reached yet
    assert await world.accounts.open_active({"LIVE"}) == [account_id]
    assert await world.accounts.kinds_in_use() == {"LIVE"}


async def test_a_removed_account_keeps_its_rows_and_loses_its_key(world: World) -> None:
    account_id, theirs = await world.with_hmac()
    await world.see(account_id)
    assert (await want(world, account_id, WantedState.REMOVED)).state == "REMOVED"
    async with world.owner_db.begin() as session:
        assert (await session.execute(select(Credential))).first() is None
    async with world.web.begin() as session:
        assert await execution.list_accounts(session, user_id=world.user_id) == []
        assert len(await execution.list_accounts(session, user_id=world.user_id, with_removed=True)) == 1
    assert len(await adjustments(world, account_id)) == 2
    with pytest.raises(Conflict):
        await world.ask(execution.want_account, account_id=account_id, wanted=WantedState.ACTIVE)
    with pytest.raises(Conflict):
        await world.ask(execution.replace_key, account_id=account_id)
    same = await world.request(key=NewKey(theirs["api_key"], theirs["secret"]))  # its name is free again
    assert (await world.see(same.id)).state == "ACTIVE"


async def test_an_account_with_an_open_order_is_not_switched_off(world: World) -> None:
    account_id, _ = await world.with_hmac()
    await world.see(account_id)
    order = (
        "INSERT INTO execution.orders (account_id, client_order_id, intent_key, symbol, side, type, quantity, status,"
        " version, created_at_ms, deadline_ms) VALUES (:id, 'c', 'k', 'BTCUSDT', 'BUY', 'MARKET', 1, 'NEW', 1, 0, 0)"
    )
    async with world.owner_db.begin() as session:
        await session.execute(text("ALTER TABLE execution.orders DISABLE TRIGGER USER"))
        await session.execute(text(order), {"id": account_id})
    for wanted in (WantedState.DISABLED, WantedState.REMOVED):
        with pytest.raises(Conflict, match="orders are still open"):
            await world.ask(execution.want_account, account_id=account_id, wanted=wanted)
    async with world.owner_db.begin() as session:
        await session.execute(text("UPDATE execution.accounts SET state = 'FROZEN'"))
    assert (await want(world, account_id, WantedState.REMOVED)).state == "REMOVED"


# --- the daily look ----------------------------------------------------------------------------------------


async def a_day_later(world: World) -> None:
    async with world.owner_db.begin() as session:
        await session.execute(update(Credential).values(checked_at=text("now() - interval '25 hours'")))


async def test_a_key_that_was_given_withdrawals_since_freezes_its_account(world: World) -> None:
    account_id, theirs = await world.with_hmac()
    await world.see(account_id)
    await world.allow(theirs, enableWithdrawals=True)
    await world.worker.look_again()  # it was looked at today
    assert (await world.see(account_id)).state == "ACTIVE"
    await a_day_later(world)
    await world.worker.look_again()
    frozen = await world.see(account_id)
    assert (frozen.state, frozen.state_reason) == ("FROZEN", "Switch off withdrawals for this key at Binance.")
    async with world.owner_db.begin() as session:
        assert (await session.execute(select(Incident))).scalar_one().kind == "ACCOUNT_FROZEN"


async def test_a_daily_look_that_does_not_reach_the_exchange_changes_nothing(world: World) -> None:
    account_id, theirs = await world.with_hmac()
    before = await world.see(account_id)
    await a_day_later(world)
    url, world.exchanges.of("LIVE").market._client.API_URL = world.exchanges.of("LIVE").market._client.API_URL, NOBODY
    await world.worker.look_again()
    assert (await world.see(account_id)).state == "ACTIVE"
    world.exchanges.of("LIVE").market._client.API_URL = url
    await world.allow(theirs, ipRestrict=False)
    await world.worker.look_again()
    after = await world.see(account_id)
    assert after.advice
    assert after.key_checked_at is not None
    assert before.key_checked_at is not None
    assert after.key_checked_at > before.key_checked_at


# --- one exchange a kind -----------------------------------------------------------------------------------


async def test_kinds_nobody_uses_are_not_asked(world: World) -> None:
    asked: list[str] = []

    async def work(exchange: Any) -> None:
        asked.append(exchange.kind.value)

    await world.exchanges.each(work)
    assert asked == []
    world.exchanges.use({"LIVE"})
    await world.exchanges.each(work)
    assert asked == ["LIVE"]


async def test_each_exchange_has_a_clock_and_a_budget_of_its_own_and_one_that_fails_takes_nothing_from_others(
    world: World,
) -> None:
    world.exchanges.use({"PAPER", "LIVE", "TESTNET"})
    with pytest.raises(AskingFailed):
        await world.exchanges.sync_clocks()  # nobody is at the paper exchange's address here
    live, testnet, paper = (world.exchanges.of(kind) for kind in ("LIVE", "TESTNET", "PAPER"))
    assert (live.keeper.why_not(), testnet.keeper.why_not(), paper.keeper.why_not() != "") == ("", "", True)
    assert live.clock is not testnet.clock
    before = testnet.budget.used
    await live.market.prices()
    assert live.budget.used > before
    assert testnet.budget.used == before


async def test_no_order_goes_out_while_the_clock_of_its_own_exchange_is_not_known_but_an_exit_does(
    world: World,
) -> None:
    live, testnet = (world.exchanges.of(kind).open_session("k" * 64, HmacSecret("s")) for kind in ("LIVE", "TESTNET"))
    try:
        await world.exchanges.of("TESTNET").keeper.sync()
        assert (live.admits(is_exit=False), testnet.admits(is_exit=False)) == (False, True)
        assert (live.admits(is_exit=True), testnet.admits(is_exit=True)) == (True, True)
        await world.exchanges.of("LIVE").keeper.sync()
        assert live.admits(is_exit=False)
    finally:
        await live.close()
        await testnet.close()
