"""Every public method of a state can be called by anybody: who may call what."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from reflex_base.event import Event
from reflex_base.registry import RegistrationContext
from state_kit import FakeServices, change_cookie, new_tab

from app.state.auth import ANYBODY_SIGNED_IN, FRAMEWORK, NOBODY, AuthMiddleware, AuthState, required_roles
from app.state.kill import KillState
from app.state.login import LoginState
from app.state.notify import NotifyState
from app.state.orders import OrdersState
from app.state.risk import RiskState
from app.state.shell import ShellState

HANDLERS = sorted(RegistrationContext.get().event_handlers)


def module_of(name: str) -> str:
    return inspect.unwrap(RegistrationContext.get().event_handlers[name].handler.fn).__module__


def named(state: Any, handler: str) -> str:
    return f"{state.get_full_name()}.{handler}"


async def ask(root: Any, name: str) -> Any:
    return await AuthMiddleware().preprocess(None, root, Event(name=name))  # type: ignore[arg-type]


def test_only_these_handlers_of_ours_are_open_to_everybody() -> None:
    ours = {name for name in HANDLERS if module_of(name).startswith("app.")}
    assert len(ours) > 40
    assert {name.split("____")[-1] for name in ours if required_roles(name) is None} == {
        "login_state.load",
        "setup_state.load",
    }


def test_only_these_handlers_are_for_admins() -> None:
    for_admins = {name.split("____")[-1] for name in HANDLERS if required_roles(name) == {"admin"}}
    assert for_admins == {
        "admin_state.reconcile",
        "admin_state.set_disabled",
        "admin_state.verify",
        "kill_state.ask_everything",
        "reconciliation_state.set_everybody",
    }


@pytest.mark.parametrize("name", HANDLERS)
def test_every_handler_is_public_signed_in_admin_framework_or_nobodys(name: str) -> None:
    needed, method = required_roles(name), name.rsplit(".", 1)[-1]
    if module_of(name).startswith("app."):
        assert needed in (None, ANYBODY_SIGNED_IN, frozenset({"admin"}))
    else:
        assert needed is (None if method in FRAMEWORK else NOBODY)


def test_setvar_and_unknown_handlers_are_nobodys() -> None:
    assert required_roles(named(RiskState, "setvar")) is NOBODY
    assert required_roles("reflex___state____state.no_such_thing") is NOBODY


async def test_a_stranger_is_sent_to_sign_in(services: FakeServices) -> None:
    update = await ask(new_tab("plumbline=forged"), named(OrdersState, "cancel"))
    assert "/login" in str(update.events)


async def test_the_sign_in_page_is_open_to_strangers(services: FakeServices) -> None:
    assert await ask(new_tab(""), named(LoginState, "load")) is None


async def test_a_trader_may_cancel_but_not_ask_for_the_global_switch(services: FakeServices) -> None:
    root = new_tab("plumbline=tom")
    assert await ask(root, named(OrdersState, "cancel")) is None
    refused = await ask(root, named(KillState, "ask_everything"))
    assert refused is not None
    assert "admin" in (await root.get_state(NotifyState)).message["title"]


async def test_setvar_is_refused_even_to_an_admin(services: FakeServices) -> None:
    assert await ask(new_tab("plumbline=ada"), named(AuthState, "setvar")) is not None


async def test_another_sign_in_forgets_all_that_the_tab_held(services: FakeServices) -> None:
    root = new_tab("plumbline=ada")
    await ask(root, named(OrdersState, "load"))
    (await root.get_state(OrdersState)).rows = [{"id": "7"}]
    change_cookie(root, "plumbline=tom")
    assert await ask(root, named(OrdersState, "load")) is None
    assert (await root.get_state(OrdersState)).rows == []
    assert (await root.get_state(AuthState)).email == "tom@example.com"


async def test_a_stolen_client_token_without_the_cookie_finds_nothing(services: FakeServices) -> None:
    root = new_tab("plumbline=ada")
    await ask(root, named(OrdersState, "load"))
    (await root.get_state(OrdersState)).rows = [{"id": "7"}]
    change_cookie(root, "")
    await ask(root, "reflex___state____state.hydrate")
    assert (await root.get_state(OrdersState)).rows == []
    assert (await root.get_state(AuthState))._viewer is None


async def test_while_the_database_is_away_nothing_is_forgotten_and_nothing_runs(services: FakeServices) -> None:
    root = new_tab("plumbline=ada")
    await ask(root, named(OrdersState, "load"))
    (await root.get_state(OrdersState)).rows = [{"id": "7"}]
    services.is_away = True
    assert await ask(root, named(OrdersState, "cancel")) is not None
    assert (await root.get_state(OrdersState)).rows == [{"id": "7"}]
    assert "database" in (await root.get_state(ShellState)).away


async def test_nothing_about_the_session_reaches_the_browser(services: FakeServices) -> None:
    root = new_tab("plumbline=ada")
    await ask(root, named(OrdersState, "load"))
    sent = root.dict()[AuthState.get_full_name()]
    assert {name.removesuffix("_rx_state_") for name in sent} == {"email", "role"}
