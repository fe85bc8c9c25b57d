"""The process that serves HTTP and, when it holds the leader lease, dispatches."""
