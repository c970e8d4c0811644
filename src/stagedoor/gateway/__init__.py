"""The gateway: an ASGI application that lets the door decide and streams what it allows."""
