"""waitress's own server, channel and task, with what tracks a connection in them.

The main loop accepts, reads and sends; a request is served in a thread of waitress's pool. Hooks
run in that thread, or in one of the tracker's, and never in the main loop.
"""
