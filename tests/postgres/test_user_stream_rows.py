"""How an account's stream is stands in rows that its owner sees, written with the worker's rights."""

from __future__ import annotations

from decimal import Decimal

from app.jobs.user_stream import StreamRows
from app.services.execution import list_accounts, notices
from tests.conftest import Sessions
from tests.execution.conftest import postgres_world


async def test_a_silent_stream_is_down_until_it_is_replaced_and_its_owner_is_told(
    migrator_sessions: Sessions, worker_sessions: Sessions, web_sessions: Sessions
) -> None:
    world = await postgres_world(migrator_sessions, worker_sessions, {"USDT": Decimal(1000)})
    rows, seen = StreamRows(worker_sessions), []
    async with world.store.transaction() as tx:
        account = await tx.account(world.account_id)
    assert account is not None

    async def shown() -> bool:
        async with web_sessions.begin() as session:
            return (await list_accounts(session, user_id=account.user_id))[0].stream_up

    await rows.set_up(world.account_id, up=True)
    seen.append(await shown())
    await rows.set_up(world.account_id, up=False)
    await rows.was_silent(world.account_id, "order pl-a changed at 12:00:01 UTC and it did not say so")
    seen.append(await shown())
    assert seen == [True, False]
    async with web_sessions.begin() as session:
        (told,) = await notices(session, user_id=account.user_id)
        assert await notices(session, user_id=account.user_id + 1) == []
    assert told.kind == "STREAM_SILENT"
    assert told.message == (
        "The event stream of account Paper was connected but silent: order pl-a changed at 12:00:01 UTC and it did "
        "not say so. It is being replaced; what it missed was found by asking the exchange."
    )
