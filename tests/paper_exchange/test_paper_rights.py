"""Keys with less, or more, than the usual rights; and keys that are replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from client_kit import open_account
from paper_kit import Keys, Paper, close, running

MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}
REFUSED = {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}


@pytest.fixture
async def keys(paper: Paper) -> Keys:
    return await paper.open_account({"USDT": "100000", "BTC": "1"}, ed25519=False)


async def allow(paper: Paper, keys: Keys, **rights: Any) -> dict[str, Any]:
    status, told = await paper.control("POST", f"/paper/accounts/{keys.account_id}/rights", rights)
    assert status == 200, told
    return dict(told)


async def order(paper: Paper, keys: Keys) -> tuple[int, Any]:
    return await paper.signed("POST", "/api/v3/order", keys, **MARKET)


async def test_the_rights_that_were_given_are_told(paper: Paper, keys: Keys) -> None:
    await allow(paper, keys, enableWithdrawals=True, ipRestrict=False)
    _, told = await paper.signed("GET", "/sapi/v1/account/apiRestrictions", keys)
    assert (told["enableWithdrawals"], told["ipRestrict"], told["enableReading"]) == (True, False, True)
    assert (await order(paper, keys))[0] == 200


async def test_a_key_without_the_right_to_trade_reads_and_does_not_trade(paper: Paper, keys: Keys) -> None:
    await allow(paper, keys, enableSpotAndMarginTrading=False)
    assert await order(paper, keys) == (401, REFUSED)
    assert (await paper.signed("POST", "/api/v3/order/test", keys, **MARKET))[1] == REFUSED
    assert (await paper.signed("GET", "/api/v3/account", keys))[0] == 200


async def test_a_key_without_the_right_to_read_learns_nothing(paper: Paper, keys: Keys) -> None:
    await allow(paper, keys, enableReading=False)
    for path in ("/api/v3/account", "/sapi/v1/account/apiRestrictions"):
        assert await paper.signed("GET", path, keys) == (401, REFUSED)


async def test_a_key_works_from_its_addresses_only(paper: Paper, keys: Keys) -> None:
    told = await allow(paper, keys, ipRestrict=False, addresses=["10.0.0.7"])
    assert told["ipRestrict"] is True
    assert await paper.signed("GET", "/api/v3/account", keys) == (401, REFUSED)
    await allow(paper, keys, addresses=["10.0.0.7", "127.0.0.1"])
    assert (await paper.signed("GET", "/api/v3/account", keys))[0] == 200


async def test_an_account_that_may_not_trade_says_so_and_does_not(paper: Paper, keys: Keys) -> None:
    assert (await paper.signed("GET", "/api/v3/account", keys))[1]["canTrade"] is True
    await allow(paper, keys, canTrade=False)
    assert (await paper.signed("GET", "/api/v3/account", keys))[1]["canTrade"] is False
    assert (await order(paper, keys))[1] == {"code": -2010, "msg": "This action is disabled on this account."}


async def test_the_web_socket_api_holds_to_the_same_rights(paper: Paper) -> None:
    keys = await open_account(paper, "hmac")
    client = await paper.client(keys)
    await allow(paper, keys, enableSpotAndMarginTrading=False)
    with pytest.raises(Exception, match="Invalid API-key, IP, or permissions"):
        await client.ws_create_order(**MARKET)
    assert (await client.ws_get_account())["canTrade"] is True
    await close(client)


async def test_a_replaced_key_is_gone_and_the_new_one_has_the_books(paper: Paper, keys: Keys) -> None:
    await order(paper, keys)
    _, answer = await paper.control("POST", f"/paper/accounts/{keys.account_id}/key", {})
    new = Keys(keys.account_id, answer["api_key"], answer["secret"])
    assert await paper.signed("GET", "/api/v3/account", keys) == (401, REFUSED)
    assert len((await paper.signed("GET", "/api/v3/allOrders", new, symbol="BTCUSDT"))[1]) == 1


async def test_rights_and_keys_outlive_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path / "paper.db") as paper:
        keys = await paper.open_account({"USDT": "100"}, ed25519=False)
        await allow(paper, keys, enableWithdrawals=True, addresses=["127.0.0.1"])
    async with running(tmp_path / "paper.db") as paper:
        assert (await allow(paper, keys))["addresses"] == ["127.0.0.1"]
        _, told = await paper.signed("GET", "/sapi/v1/account/apiRestrictions", keys)
    assert (told["enableWithdrawals"], told["ipRestrict"]) == (True, True)


@pytest.mark.parametrize(
    ("rights", "field"),
    [
        ({"enableMagic": True}, "rights"),
        ({"enableReading": "yes"}, "enableReading"),
        ({"addresses": "127.0.0.1"}, "addresses"),
        ({"addresses": [1]}, "addresses"),
    ],
)
async def test_rights_that_make_no_sense_are_refused(
    paper: Paper, keys: Keys, rights: dict[str, Any], field: str
) -> None:
    status, answer = await paper.control("POST", f"/paper/accounts/{keys.account_id}/rights", rights)
    assert (status, answer["field"]) == (400, field)
    assert (await order(paper, keys))[0] == 200
