"""What is shown: pure functions of documents and statuses to text."""
