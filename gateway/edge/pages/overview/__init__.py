"""What people look at to see how things stand: numbers over time, decisions as they are closed, policies in force."""
