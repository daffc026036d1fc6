"""What type checkers are to find, one mistake on each marked line."""

from __future__ import annotations

from flask_rawsocket import ConnState, RawSocket, current_conn

rawsocket = RawSocket()

number: int = current_conn.key  # wrong
current_conn.tcp_info().no_such_field  # wrong
rawsocket.require_peer(uid="root")  # wrong
rawsocket.require_peer(any_of={"users": "root"})  # wrong
rawsocket.connections.in_state("ACTIVE")  # wrong
current_conn.hijack_async(lambda reader: None)  # wrong
state: ConnState = current_conn.close_reason  # wrong
