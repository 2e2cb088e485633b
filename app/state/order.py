"""One order: what was asked, what became of it, and every event in between."""

from __future__ import annotations

import reflex as rx

from app.services import execution
from app.services.execution import OrderDetail, OrderEvent
from app.state import words
from app.state.base import PageState, Unit, handler, live, put, say, work
from app.state.orders import cancel_for
from app.state.rows import Row, fill_row, order_row

_PURPOSES = {
    "entry": "enters a position",
    "stop": "ends the loss of a position",
    "target": "takes the profit of a part of a position",
    "exit": "leaves a position",
}


@live("order", "fill")
class OrderState(PageState, rx.State):
    """The order in the page's address."""

    row: Row = {}  # noqa: RUF012
    story: str = ""
    facts: list[Row] = []  # noqa: RUF012
    events: list[Row] = []  # noqa: RUF012
    fills: list[Row] = []  # noqa: RUF012

    async def _reload(self, unit: Unit) -> None:
        detail = await execution.order_detail(unit.session, user_id=unit.user_id, order_id=self._from_address())
        put(
            self,
            row=order_row(detail.order, {detail.order.account_id: (detail.account_label, detail.account_kind)}),
            story=words.sentence(detail.story),
            facts=_facts(detail),
            events=[_event_row(event) for event in detail.events],
            fills=[fill_row(fill) for fill in detail.fills],
        )

    @handler
    async def cancel(self) -> None:
        """Ask for its cancellation."""
        async with work(self) as unit:
            await cancel_for(unit, self.row.get("id"))
            await self._renew(unit)
        await say(self, "info", "Cancel asked for", "The order may still fill until the exchange confirms.")


def _facts(detail: OrderDetail) -> list[Row]:
    order = detail.order
    pairs = [
        ("Account", f"{detail.account_label} · {detail.account_kind}"),
        ("Purpose", _PURPOSES.get(order.role or "", "")),
        ("Placed", words.day_time(words.at_ms(order.created_at_ms))),
        ("Limit price", words.price(order.price) if order.price is not None else ""),
        ("Stop price", words.price(order.stop_price) if order.stop_price is not None else ""),
        ("Time in force", order.time_in_force.value if order.time_in_force else ""),
        ("Client order id", order.client_order_id),
        ("Order list", f"{order.list_client_order_id}, one cancels the other" if order.list_client_order_id else ""),
        ("Exchange order id", str(order.exchange_order_id or "not known yet")),
        ("Reserved", f"{words.quantity(order.reserved)} {order.reserved_asset}" if order.reserved else ""),
        ("Refused because", words.sentence(order.reject_reason) if order.reject_reason else ""),
        ("Refusal code", order.reject_code),
    ]
    return [{"name": name, "value": value} for name, value in pairs if value]


def _event_row(event: OrderEvent) -> Row:
    moved = event.from_status != event.to_status
    return {
        "seq": str(event.seq),
        "time": words.exact_time(event.occurred_at),
        "recorded": f"recorded {words.exact_time(event.recorded_at)}",
        "words": event.words,
        "edge": f"{event.from_status or 'nothing'} → {event.to_status}" if moved else event.to_status,
        "source": event.source,
    }
