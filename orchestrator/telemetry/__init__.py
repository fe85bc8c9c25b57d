"""What operators are told while it happens: logs, and traces where somebody collects them."""
