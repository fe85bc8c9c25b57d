"""What the fleet answers: one TypedDict for each document, and the function that makes it from the domain.

The OpenAPI document is made from the same types, and the type checker holds the functions to them.
"""
