"""Looking candidates up in OPTIMADE databases, against a server of our own on loopback."""

import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from matterloop.archive.optimade import Offline, look_up, reduced_name


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
        wanted = query["filter"][0]
        self.server.asked.append(self.path)
        body = self.server.bodies.get(wanted, {"data": [], "meta": {"data_returned": 0}})
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = HTTPServer(("127.0.0.1", 0), Answers)
    server.bodies, server.asked = {}, []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def url(server):
    return f"http://127.0.0.1:{server.server_address[1]}"


def test_formulas_are_spelt_as_the_standard_asks():
    assert reduced_name({3: 2, 8: 6, 73: 2}) == "LiO3Ta"
    assert reduced_name({8: 4}) == "O"


def test_entries_are_counted_and_named(server):
    server.bodies['chemical_formula_reduced="LiO3Ta"'] = {"data": [{"id": f"mp-{i}"} for i in range(5)], "meta": {"data_returned": 7}}
    found = look_up([{3: 1, 73: 1, 8: 3}, {11: 1, 17: 1}], providers={"here": url(server)})
    assert (found[0][0].provider, found[0][0].count, found[0][0].ids) == ("here", 7, ("mp-0", "mp-1", "mp-2"))
    assert found[1][0].count == 0 and found[1][0].ids == ()
    assert all("/v1/structures?" in path for path in server.asked)


@pytest.mark.parametrize("body", [b"<html>", b'{"data": 3}', b"[]", b"x" * 2_000_001])
def test_a_database_that_talks_nonsense_is_left_out(server, body):
    server.bodies['chemical_formula_reduced="ClNa"'] = body
    with pytest.raises(Offline, match="bad"):
        look_up([{11: 1, 17: 1}], providers={"bad": url(server)})


def test_one_dead_database_does_not_silence_the_others(server):
    found = look_up([{11: 1, 17: 1}, {3: 1, 9: 1}], providers={"dead": "http://127.0.0.1:9", "alive": url(server)}, seconds=2)
    assert [[f.provider for f in fs] for fs in found] == [["alive"], ["alive"]]


def test_no_network_says_so():
    with pytest.raises(Offline, match="nobody"):
        look_up([{11: 1, 17: 1}], providers={"nobody": "http://127.0.0.1:9"}, seconds=2)
