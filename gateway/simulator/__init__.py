"""A QStash that can be asked which runs were cancelled, as dangerous as the real one; never part of `serve`."""
