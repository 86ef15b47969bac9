"""What a user does with a model: train, evaluate, predict."""
