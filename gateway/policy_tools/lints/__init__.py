"""What is accepted and still worth a sentence: the `findings`, and the `conflicts` of rules that some rest on."""
