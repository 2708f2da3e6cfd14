"""What Dramatiq asks of a broker, row by row, beyond what its base class says.

A test names the rows that it shows in brackets at the end of its docstring;
`test_rows.py` tells which row nobody shows.
"""

ROWS = {
    "E1": "enqueue takes a message or its proxy",
    "E2": "hooks may change a message before it is encoded, or stop it",
    "E3": "enqueue returns when the message is stored, or raises a connection error",
    "E4": "the same message may be enqueued again, and comes again",
    "E5": "a body is what the encoder made, or anybody's bytes",
    "E6": "enqueue returns the message that is stored; it adds no options",
    "E7": "a message too large is refused before it is sent",
    "E8": "an undeclared queue is refused, or made",
    "E9": "threads and forks are safe; connecting waits for the first use",
    "D1": "a delay is never short, may be 0 or weeks, and survives restarts",
    "D2": "messages for the far future are in nobody's way",
    "D3": "a delayed message is not much too late",
    "D4": "a delay leaves no trace in the message",
    "D5": "a delay of 0 is none",
    "Q1": "declaring is done once, by its plain name, which may have dots",
    "Q2": "what the server lost of a queue is made again",
    "C1": "consume takes Dramatiq's keywords, and says so without a server",
    "C2": "a message wakes who waits; without one there is None in time",
    "C3": "no more than the prefetch is in hand",
    "C4": "first in, first out",
    "C5": "a message belongs to the queue that it came from",
    "C6": "what cannot be decoded becomes a dead letter",
    "A1": "ack is for any thread, and harmless a second time or too late",
    "A2": "nack makes a dead letter with the whole body",
    "A3": "requeue gives back at once",
    "A4": "close gives back what nobody took, and harms nobody's work",
    "H1": "a message of a living worker comes to nobody else",
    "H2": "a dead worker's messages come back",
    "H3": "a message that kills its workers ends somewhere",
    "F1": "flush drops what a queue has; consumers go on",
    "F2": "flush_all flushes all declared queues",
    "J1": "join waits for all of a queue's messages, and misses none",
    "S1": "close may be repeated, and in a fork is the fork's own",
    "S2": "a message whose follow-up cannot be stored is not lost",
    "S3": "an interrupt inside of enqueue breaks nothing",
    "S4": "a worker's thread survives what is raised outside of its actor",
    "M1": "without a list of middleware there is Dramatiq's own",
    "M2": "results and rate limits",
    "M3": "priorities",
}

#: Shown by suites of their own, beside the broker's.
ELSEWHERE = {"M2", "M3"}
