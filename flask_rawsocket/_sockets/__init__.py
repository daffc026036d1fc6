"""The server's end of a connection: the listener, and the sockets that it accepts."""
