"""The part of a gateway that shares its state: opens the store, follows it, and joins the gates to it."""
