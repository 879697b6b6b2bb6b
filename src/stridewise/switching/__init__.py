"""One network, many strides: a set of weights that is run under several plans."""
