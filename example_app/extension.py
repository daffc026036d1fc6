"""The extension, for the files of the application to share; ``app.py`` sets it up."""

from flask_rawsocket import RawSocket

rawsocket = RawSocket()
