"""Reflex's configuration. The port and origin are baked into the build; serving corrects them (app/frontend.py)."""

from __future__ import annotations

import reflex as rx

from app.config import settings_or_exit

settings = settings_or_exit()

config = rx.Config(
    app_name="app",
    api_url=settings.public_url,
    deploy_url=settings.public_url,
    backend_host=settings.host,
    cors_allowed_origins=[settings.public_url],  # the default, "*", would let any site open our websocket
    state_manager_mode=rx.constants.StateManagerMode.MEMORY,
    redis_token_expiration=3600,
    telemetry_enabled=False,
    show_built_with_reflex=False,
    default_color_mode="dark",
    react_strict_mode=False,
    frontend_compression_formats=["gzip"],
    plugins=[
        rx.plugins.RadixThemesPlugin(
            theme=rx.theme(appearance="dark", accent_color="teal", gray_color="slate", radius="medium", scaling="95%")
        ),
    ],
    disable_plugins=[rx.plugins.SitemapPlugin],  # a private app wants no sitemap
)
