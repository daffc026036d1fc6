"""An application that has never heard of RawSocket."""

from flask import Flask, request

app = Flask(__name__)


@app.get("/")
def index():
    return {"remote_addr": request.remote_addr}
