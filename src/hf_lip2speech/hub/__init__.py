"""On the Hub: model cards and publishing."""
