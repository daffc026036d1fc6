"""The server's end of a connection where gevent's greenlets serve it."""
