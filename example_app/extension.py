"""The extension, which the files of the application share; ``app.py`` sets it up."""

from flask_rawsocket import RawSocket

rawsocket = RawSocket()
