"""Uploads and candles."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
from gateway_kit import ORIGIN, Person, cookie_of

from app.services.container import AppServices

_START_S = 1_600_000_000 // 3600 * 3600


def csv_of(rows: int) -> bytes:
    """Hourly candles without a header, as Binance writes them."""
    lines = (f"{(_START_S + 3600 * i) * 1000},{100 + i},{102 + i},{99 + i},{101 + i},5.5" for i in range(rows))
    return "\n".join(lines).encode()


def _form(content: bytes = csv_of(48), **fields: str) -> dict[str, object]:
    data = {"symbol": "BTCUSDT", "timeframe": "1h", "name": "Two days", **fields}
    return {"data": data, "files": {"file": ("candles.csv", content, "text/csv")}}


async def _upload(person: Person, *, key: str = "k", **form: object) -> httpx.Response:
    headers = {**person.headers, "Idempotency-Key": key}
    return await person.client.post("/api/v1/datasets", headers=headers, **(form or _form()))  # type: ignore[arg-type]


async def test_a_file_is_imported_listed_shown_and_removed(alice: Person) -> None:
    made = await _upload(alice)
    listed = (await alice.get("/api/v1/datasets")).json()["datasets"]
    where = {"venue": made.json()["venue"], "symbol": "BTCUSDT", "timeframe": "1h"}
    rows = (await alice.get("/api/v1/candles", params={**where, "limit": 2})).json()
    earlier = (await alice.get("/api/v1/candles", params={**where, "limit": 1, "end": rows[0]["time"]})).json()
    removed = await alice.write(f"/api/v1/datasets/{made.json()['id']}", method="DELETE")

    assert (made.status_code, made.json()["rows"], made.json()["gaps"]) == (201, 48, 0)
    assert [dataset["name"] for dataset in listed] == ["Two days"]
    assert rows[1] == {
        "time": _START_S + 47 * 3600,
        "open": 147.0,
        "high": 149.0,
        "low": 146.0,
        "close": 148.0,
        "volume": 5.5,
    }
    assert earlier[0]["time"] == rows[0]["time"] - 3600
    assert removed.status_code == 200
    assert (await alice.get("/api/v1/datasets")).json()["datasets"] == []


async def test_the_same_upload_sent_twice_is_one_data_set(alice: Person) -> None:
    first, again = await _upload(alice), await _upload(alice)
    other = await _upload(alice, **_form(csv_of(47)))

    assert again.content == first.content
    assert (other.status_code, other.json()["error"]["field"]) == (422, "file")


async def test_a_bad_row_is_named_and_the_key_may_be_used_again(alice: Person) -> None:
    bad = csv_of(48).replace(b"110", b"elf", 1)
    answer = await _upload(alice, **_form(bad))
    good = await _upload(alice)

    assert answer.status_code == 422
    assert "row" in answer.json()["error"]["message"].lower()
    assert good.status_code == 201


async def test_a_file_above_the_limit_is_refused_without_being_kept(alice: Person) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="big.csv"\r\n\r\n'
        for _ in range(300):
            sent += 1
            yield b"1" * 65_536

    headers = {**alice.headers, "Idempotency-Key": "k", "Content-Type": "multipart/form-data; boundary=x"}
    answer = await alice.client.post("/api/v1/datasets", headers=headers, content=body())

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert "1 MB" in answer.json()["error"]["message"]


async def test_an_upload_that_is_no_form_or_has_no_file_says_so(alice: Person) -> None:
    headers = {**alice.headers, "Idempotency-Key": "k"}
    bare = await alice.client.post("/api/v1/datasets", headers=headers, content=b"1,2,3")
    cut = await alice.client.post(
        "/api/v1/datasets",
        headers={**headers, "Content-Type": "multipart/form-data; boundary=x"},
        content=b'--x\r\nContent-Disposition: form-data; name="fi',
    )
    without = await alice.client.post("/api/v1/datasets", headers=headers, files={"other": ("a", b"1")})

    for answer in (bare, cut, without):
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, "file")


async def test_a_plain_form_of_our_page_is_sent_on_to_the_data_page(
    client: httpx.AsyncClient, alice: Person, services: AppServices
) -> None:
    headers = {"Cookie": await cookie_of(services, alice.viewer), "Accept": "text/html,*/*", "Origin": ORIGIN}
    answer = await client.post("/api/v1/datasets", headers=headers, **_form(idempotency_key="k"))  # type: ignore[arg-type]
    elsewhere = await client.post(
        "/api/v1/datasets",
        headers=headers | {"Origin": "https://evil.example"},
        **_form(idempotency_key="k"),  # type: ignore[arg-type]
    )

    assert (answer.status_code, answer.headers["location"]) == (303, "/data?imported=1")
    assert elsewhere.status_code == 403


async def test_one_may_not_remove_anothers_data_set(alice: Person, bob: Person) -> None:
    made = (await _upload(alice)).json()

    assert (await bob.write(f"/api/v1/datasets/{made['id']}", method="DELETE")).status_code == 403
