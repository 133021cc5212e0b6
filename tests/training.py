"""What the tests of training methods train with."""


def trained(method, problem, **settings):
    """All epochs of a training with these settings over the defaults, each evaluated."""
    epochs = []
    for epoch in method.train(problem, {**method.defaults, **settings}):
        epoch.scores()
        epochs.append(epoch)
    return epochs


def final_weights(method, problem, **settings):
    """The weights after the last epoch."""
    return trained(method, problem, **settings)[-1].weights
