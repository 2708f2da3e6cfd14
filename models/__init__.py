"""What we talk about: pure values and rules, and the door to Postgres."""
