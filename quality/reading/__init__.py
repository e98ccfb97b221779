"""What a free-form diagnostic text says: its sentences, the diseases it names, what it asserts, what it concludes."""
