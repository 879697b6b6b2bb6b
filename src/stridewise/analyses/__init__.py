"""Graph -> frozen results: sizes, fields, costs, classes of strides, findings."""
