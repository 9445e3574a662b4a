"""Drawing poses."""
