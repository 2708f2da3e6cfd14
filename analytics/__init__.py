"""The only door to ClickHouse: what happened to whom, counted and told again.

Nothing here decides anything. The ledger in Postgres is the truth and also the
spool: while ClickHouse is away events wait there, and sending goes on.
"""
