"""The one asyncio loop of the process, for connections that ``hijack_async`` has hijacked."""
