"""What people have to do with cancels: the plans that wait for them, and what they say."""
