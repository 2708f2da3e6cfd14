"""The duties that one leader does: discovery, sync, the event log and recovery."""
