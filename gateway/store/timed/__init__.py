"""What a gateway has to do later, in SQL."""
