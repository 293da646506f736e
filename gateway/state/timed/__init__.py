"""What a gateway has to do later, as values."""
