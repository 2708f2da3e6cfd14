"""`python -m benchmarks.peers.producer celery|dramatiq`: pages of rows become tasks.

It waits at the list `produce` for orders `{"batch": id, "task": recipients in one}`,
and reads the batch through a cursor of the server, a task's rows at a time.
"""

import os
import sys
from importlib import import_module

import orjson
import psycopg2
import redis

_ROWS = """
    select seq, address, variables from recipients where batch_id = %s order by seq
    """


def produce(kind: str) -> None:
    """Follow orders until somebody ends us."""
    enqueue = import_module(f"benchmarks.peers.{kind}_app").enqueue
    # An order may be long in coming.
    orders = redis.Redis.from_url(os.environ["DRAGONFLY_URL"], socket_timeout=None)
    database = psycopg2.connect(os.environ["DATABASE_URL"])
    while order := orders.blpop("produce"):
        wanted = orjson.loads(order[1])
        with database, database.cursor("rows") as cursor:
            cursor.itersize = wanted["task"]
            cursor.execute(_ROWS, [wanted["batch"]])
            while rows := cursor.fetchmany(wanted["task"]):
                seqs, addresses, variables = map(list, zip(*rows, strict=True))
                enqueue(wanted["batch"], seqs[0], addresses, variables)


if __name__ == "__main__":
    produce(sys.argv[1])
