"""An endpoint that nobody listens at is told before anything is created."""

import socket

import pytest

from cli.endpoint import check_endpoint
from models.errors import BatchSenderError

HERE = "http://127.0.0.1:3000"


def config_at(url):
    return {"name": "c", "settings": {"url": url}}


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_an_endpoint_that_takes_connections_is_fine(port):
    check_endpoint(HERE, config_at(f"http://127.0.0.1:{port}/"))


def test_nobody_there_is_one_sentence_that_says_what_to_do(port):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        closed = gone.getsockname()[1]

    with pytest.raises(BatchSenderError, match=f"127.0.0.1:{closed}.*batchsender sink"):
        check_endpoint(HERE, config_at(f"http://127.0.0.1:{closed}/"))


def test_where_the_api_is_elsewhere_its_workers_decide():
    """They may reach what this machine cannot."""
    check_endpoint("https://api.example.com", config_at("http://127.0.0.1:1/"))
