"""The door to Dragonfly: live counts, outcome records, token buckets and leases.

Everything here is a projection of the ledger, or permission to *wait*; nothing here
is permission to call a provider (design, section 4). Any of it may vanish, be emptied
or go back in time. Dragonfly runs as one primary: a script may touch keys of several
hash slots, because limits of four levels are taken together.
"""
