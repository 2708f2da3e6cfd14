"""Every statement that Postgres is asked, as functions of a connection."""
