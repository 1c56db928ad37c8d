"""The commands of `kubectl asgd`: a function each that reads its arguments, asks or changes the cluster, and prints."""
