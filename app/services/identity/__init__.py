"""People: who they are, how they sign in, what they did."""

from app.services.identity.viewer import ANONYMOUS, Caller, Role, Viewer

__all__ = ["ANONYMOUS", "Caller", "Role", "Viewer"]
