"""The one door to QStash: token, connections, the cancel."""
