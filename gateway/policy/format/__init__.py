"""What a policy file may say: declarations that read its text and describe it."""
