"""Tests of streamtos3; the servers they talk to listen on 127.0.0.1 and end with them."""
