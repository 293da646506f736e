"""The one door to QStash: the token, the connections and the cancel."""
